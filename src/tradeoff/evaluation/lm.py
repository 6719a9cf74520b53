"""The model object that lm-eval drives: prompts as in training, greedy generation, truncation noted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import DynamicCache, DynamicLayer, PreTrainedModel, PreTrainedTokenizerBase

from tradeoff.errors import UserError
from tradeoff.training.tokens import end_ids, left_padded, prompt_ids, prompt_text


class GreedyLM(HFLM):
    """A causal model under lm-eval with a fixed batch size.

    Attributes:
        truncated: (task, document number) of every response that ended at its generation limit.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        report: Callable[[int], None] = lambda done: None,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device=str(model.device))
        self.truncated: set[tuple[str, int]] = set()
        self._report = report

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt as in training; a history that ends with the assistant's words is left to lm-eval."""
        if not add_generation_prompt:
            return super().apply_chat_template(chat_history, add_generation_prompt)
        return prompt_text(self.tokenizer, chat_history)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids as in training: one begin token at most."""
        if add_special_tokens is None and not kwargs.get("left_truncate_len"):
            return prompt_ids(self.tokenizer, string)
        return super().tok_encode(string, add_special_tokens, **kwargs)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy responses, in the order of the requests."""
        responses = [""] * len(requests)
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for number, request in enumerate(requests):
            options = request.args[1]
            _greedy_only(options)
            limit = int(options.get("max_gen_toks", self.max_gen_toks))
            groups.setdefault((limit, tuple(options.get("until") or ())), []).append(number)
        for (limit, until), chosen in groups.items():
            prompts = [requests[i].args[0] for i in chosen]
            found = respond(self.model, self.tokenizer, prompts, limit, self.batch_size, until, self._report)
            for i, response in zip(chosen, found, strict=True):
                responses[i] = response.text
                if response.truncated:
                    self.truncated.add((requests[i].task_name, requests[i].doc_id))
        return responses


@dataclass(frozen=True)
class Response:
    """What a model wrote, and whether it ended at the generation limit."""

    text: str
    truncated: bool


def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    limit: int,
    batch_size: int,
    until: Collection[str] = (),
    report: Callable[[int], None] = lambda done: None,
) -> list[Response]:
    """Greedy responses to rendered prompts, in their order; batches are filled from the longest prompt down.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        prompts: Texts up to where the model begins.
        limit: Most new tokens.
        batch_size: Prompts at once.
        until: Strings at the first of which a response is cut.
        report: Called with the number of prompts of each batch that is done.
    """
    ends = sorted(end_ids(tokenizer))
    encoded = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (-len(encoded[i]), i))
    responses = [Response("", False)] * len(prompts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        written = greedy(model, [encoded[i] for i in chosen], limit, ends, tokenizer.pad_token_id)
        for i, ids in zip(chosen, written, strict=True):
            responses[i] = response_of(tokenizer, ids, ends, until)
        report(len(chosen))
    return responses


def response_of(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], ends: Collection[int], until: Collection[str] = ()
) -> Response:
    """What generated ids say, up to the end token or the first of some strings; without either it was cut."""
    ended = bool(ids) and ids[-1] in ends
    text, stopped = _cut(tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True), until)
    return Response(text, truncated=not ended and not stopped)


@torch.inference_mode()
def sampled(
    model: PreTrainedModel, prompts: list[list[int]], limit: int, ends: set[int], pad_id: int, seed: int
) -> list[list[int]]:
    """A continuation of each prompt drawn from the model itself (temperature 1), up to an end token (included)."""
    torch.manual_seed(seed)
    ids_BL, attention_BL = left_padded(prompts, pad_id)
    written_BL = model.generate(
        input_ids=ids_BL.to(model.device),
        attention_mask=attention_BL.to(model.device),
        max_new_tokens=limit,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        pad_token_id=pad_id,
        eos_token_id=sorted(ends),
    )[:, ids_BL.shape[1] :]
    lengths = [next((i + 1 for i, token in enumerate(row) if token in ends), len(row)) for row in written_BL.tolist()]
    return [row[:length] for row, length in zip(written_BL.tolist(), lengths, strict=True)]


@torch.inference_mode()
def greedy(
    model: PreTrainedModel, prompts: list[list[int]], limit: int, ends: list[int], pad_id: int
) -> list[list[int]]:
    """The most likely continuation of each prompt, token by token, up to an end token (included) or `limit` tokens.

    Rows that have ended leave the batch once half of them have, so that no time goes into padding.
    """
    cache = _cache(model)
    shared = _shared([prompt[:-1] for prompt in prompts])  # a template's opening, read once
    if shared:
        model(input_ids=torch.tensor([shared], device=model.device), cache=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
    tails = left_padded([prompt[len(shared) :] for prompt in prompts], pad_id)
    ids_BL, attention_BL = (tensor.to(model.device) for tensor in tails)
    attention_BL = torch.cat([attention_BL.new_ones(len(prompts), len(shared)), attention_BL], dim=1)
    position_BL = (attention_BL.cumsum(-1) - 1)[:, len(shared) :].clamp(min=0)
    end_E = torch.tensor(ends, device=model.device)
    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    ended_B = torch.zeros(len(rows), dtype=torch.bool, device=model.device)
    for length in range(1, limit + 1):
        logits_B1V = model(
            input_ids=ids_BL,
            attention_mask=attention_BL,
            position_ids=position_BL,
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        next_B: Tensor = logits_B1V[:, -1].argmax(-1)
        for row, token, ended in zip(rows, next_B.tolist(), ended_B.tolist(), strict=True):
            if not ended:
                written[row].append(token)
        ended_B = ended_B | torch.isin(next_B, end_E)
        if length == limit or bool(ended_B.all()):
            break
        if int(ended_B.sum()) * 2 >= len(rows):
            keep_B = (~ended_B).nonzero()[:, 0]
            cache.batch_select_indices(keep_B)
            rows = [rows[i] for i in keep_B.tolist()]
            next_B, attention_BL, position_BL = next_B[keep_B], attention_BL[keep_B], position_BL[keep_B]
            ended_B = ended_B[keep_B]
        ids_BL = next_B[:, None]
        attention_BL = torch.cat([attention_BL, attention_BL.new_ones(len(rows), 1)], dim=1)
        position_BL = position_BL[:, -1:] + 1
    return written


class RoomyLayer(DynamicLayer):
    """Keys and values with room for more behind them, so that a new token is written and the others are not copied."""

    keys: Tensor
    values: Tensor
    _rooms: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """See `DynamicLayer.update`: appends, and returns everything."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        end = length + key_states.shape[-2]
        if self._rooms is None or self._rooms[0].shape[-2] < end or len(self._rooms[0]) != len(key_states):
            self._rooms = (_roomy(self.keys, key_states, end), _roomy(self.values, value_states, end))
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., length:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self._rooms)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """See `DynamicLayer.batch_repeat_interleave`."""
        super().batch_repeat_interleave(repeats)
        self._rooms = None

    def batch_select_indices(self, indices: Tensor) -> None:
        """See `DynamicLayer.batch_select_indices`."""
        super().batch_select_indices(indices)
        self._rooms = None


ROOM = 64  # tokens ahead


def _roomy(held: Tensor, new: Tensor, end: int) -> Tensor:
    """What is held, with room up to `end` tokens and some more; [batch, heads, tokens, width]."""
    batch, heads, _, width = new.shape
    room = new.new_empty(batch, heads, end + ROOM, width)
    if held.numel():
        room[..., : held.shape[-2], :] = held
    return room


def _cache(model: PreTrainedModel) -> DynamicCache:
    """A cache whose plain layers have room; others, such as those of sliding windows, are as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _shared(prompts: list[list[int]]) -> list[int]:
    """The longest opening that all have."""
    first, last = min(prompts), max(prompts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _greedy_only(options: dict[str, Any]) -> None:
    if options.get("do_sample") or options.get("temperature"):
        raise UserError(f"generation options {options}: only greedy generation is comparable; set do_sample: false")


def _cut(text: str, until: Collection[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [text.find(stop) for stop in until if stop and stop in text]
    return (text[: min(places)], True) if places else (text, False)
