"""What the rest of the project relies on, tried on a base model before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tradeoff.errors import UserError, one_line
from tradeoff.models.chat import Chat
from tradeoff.models.generation import Prompt, argmax, generate, score, shared_opening
from tradeoff.models.parts import text_parameters
from tradeoff.training import batches, tokens
from tradeoff.training.losses import TokenLosses

TEXTS = ("Is water wet?", "Name three rivers of Europe and the seas that they flow into.", "Hello")
WRITTEN = 6
TOLERANCE = 1e-3  # in float32 rounding stays far below, another computation is far above


@torch.no_grad()
def probe(model: PreTrainedModel, chat: Chat) -> dict[str, float]:
    """Token losses against the model's own logits, and generation in a batch against the model without cache or batch.

    Args:
        model: In float32.
        chat: How it is talked to.

    Returns:
        losses: Largest difference of a token's nll, nats.
        generation: Distance of the logits, relative to their spread.

    Raises:
        UserError: this model is not computed right here, so it is refused.
    """
    assert text_parameters(model), "no parameters to train"
    prompts = [chat.prompt_ids(chat.prompt([{"role": "user", "content": text}])) for text in TEXTS]
    found = {}
    for name, measure in (("losses", _losses), ("generation", _generation)):
        try:
            found[name] = measure(model, chat, prompts)
        except UserError:
            raise
        except Exception as error:  # a model of an unknown kind may raise anything
            raise UserError(
                f"{_what(model)}: its {name} cannot be computed here ({one_line(error)}); {_OTHER}"
            ) from None
        if not found[name] <= TOLERANCE:
            raise UserError(f"{_what(model)}: its {name} differ by {found[name]:.2g} from the model's own; {_OTHER}")
    return found


def _losses(model: PreTrainedModel, chat: Chat, prompts: list[list[int]]) -> float:
    sequences = [tokens.Sequence(str(n), tuple(ids), 0) for n, ids in enumerate(prompts)]
    batch = batches.collate(list(range(len(sequences))), sequences, chat.pad_id)
    found = TokenLosses(model).eval()(batch).split([s.targets for s in sequences])
    halves = [tokens.Sequence(s.id, s.ids, len(s.ids) // 2) for s in sequences]
    scored = score(model, halves, chat.pad_id)
    worst = 0.0
    for ids, nll_T, half in zip(prompts, found, scored, strict=True):
        logits_LV = _own(model, ids)
        own_T = torch.nn.functional.cross_entropy(logits_LV[:-1], torch.tensor(ids[1:]), reduction="none")
        second_T = own_T[-len(half.nll_T) :]
        worst = max(worst, (nll_T - own_T).abs().max().item(), (half.nll_T - second_T).abs().max().item())
    return worst


def _generation(model: PreTrainedModel, chat: Chat, prompts: list[list[int]]) -> float:
    seen: list[list[Tensor]] = [[] for _ in prompts]

    def watched(logits_BV: Tensor, numbers: Sequence[int]) -> Tensor:
        for number, logits_V in zip(numbers, logits_BV.float(), strict=True):
            seen[number].append(logits_V)
        return argmax(logits_BV, numbers)

    opening = shared_opening(prompts)
    asked = [Prompt(ids, WRITTEN, opening) for ids in prompts]
    two_rows = 2 * (max(map(len, prompts)) + WRITTEN)  # so that the last prompt takes the place of another
    written = generate(model, asked, frozenset(), chat.pad_id, two_rows, watched)
    squares = spread = 0.0
    for row, (prompt, ids) in enumerate(zip(prompts, written, strict=True)):
        own_WV = _own(model, prompt + ids[:-1])[len(prompt) - 1 :]
        found_WV = torch.stack(seen[row])
        squares += (found_WV - own_WV).square().sum().item()
        spread += (own_WV - own_WV.mean(-1, keepdim=True)).square().sum().item()
    return float((squares / spread) ** 0.5) if squares else 0.0


def _own(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """The model's own logits on one sequence, [L, V] float32."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def _what(model: PreTrainedModel) -> str:
    return f"a model of the kind {model.config.model_type} ({type(model).__name__})"


_OTHER = "choose a model of a kind that the README lists"
