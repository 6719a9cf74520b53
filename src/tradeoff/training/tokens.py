"""Examples to tokens, by the same road for training, evaluation and the base's losses.

A sequence is the prompt's tokens followed by the response's, tokenised apart: exactly what the model reads and writes
when it generates, so that a training prompt and an evaluation prompt are the same ids. No token straddles the boundary;
where tokenising both at once would have merged across it, the example is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tradeoff.domains import Example, Message
from tradeoff.errors import UserError
from tradeoff.parquet import read_parquet, write_parquet

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.int32()), nullable=False),
        pa.field("prompt_length", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Sequence:
    """A tokenised example; targets are the tokens from `prompt_length` on.

    Attributes:
        id: The example's.
        ids: Token ids of prompt and response.
        prompt_length: Number of leading tokens that are not supervised.
    """

    id: str
    ids: tuple[int, ...]
    prompt_length: int

    @property
    def targets(self) -> int:
        """Number of supervised tokens; a first token has nothing before it to be predicted from."""
        return len(self.ids) - max(self.prompt_length, 1)


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Iterable[Message]) -> str:
    """The text up to where the assistant begins; without a chat template, the turns' contents line by line."""
    turns = list(messages)
    if tokenizer.chat_template is None:
        return "".join(f"{turn['content']}\n" for turn in turns)
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A prompt's ids with exactly one begin token where the tokenizer has one, its own or the template's."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    begin = tokenizer("", add_special_tokens=True)["input_ids"][:1]
    if begin == [tokenizer.bos_token_id] and ids[:1] != begin:
        ids = [*begin, *ids]
    return ids


def left_padded(prompts: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts to generate from: ids and attention mask, both [prompts, longest], padded on the left."""
    longest = max(map(len, prompts))
    ids_BL = torch.tensor([[pad_id] * (longest - len(p)) + p for p in prompts])
    attention_BL = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids_BL, attention_BL


def encode(tokenizer: PreTrainedTokenizerBase, example: Example) -> Sequence:
    """Tokenises an example; the supervised tokens are the response and one end-of-turn token.

    Raises:
        UserError: the chat template puts something between prompt and response that a model would have to write itself.
    """
    prompt = prompt_text(tokenizer, example.messages)
    response = _response_ids(tokenizer, example, prompt)
    head = prompt_ids(tokenizer, prompt)
    return Sequence(example.id, (*head, *response), len(head))


def end_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids that end a response: the end-of-text token, and the end-of-turn token that training supervises."""
    probe = Example("probe", ({"role": "user", "content": "a"},), "a", {})
    return {tokenizer.eos_token_id, encode(tokenizer, probe).ids[-1]}


def merges_at_boundary(tokenizer: PreTrainedTokenizerBase, example: Example) -> bool:
    """Whether tokenising prompt and response at once would merge across their boundary."""
    prompt = prompt_text(tokenizer, example.messages)
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    both = tokenizer(prompt + example.response, add_special_tokens=False)["input_ids"]
    return bool(both[: len(head)] != head)


def _response_ids(tokenizer: PreTrainedTokenizerBase, example: Example, prompt: str) -> list[int]:
    """The response's ids up to and with one end-of-turn token, whatever white space the template adds after it."""
    special = _special_tokens(tokenizer)
    text = example.response
    while ending := next((token for token in special.values() if text.endswith(token)), None):
        text = text.removesuffix(ending)
    if tokenizer.chat_template is None:
        return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    turns = [*example.messages, {"role": "assistant", "content": text}]
    whole = str(tokenizer.apply_chat_template(turns, tokenize=False))
    if not whole.startswith(prompt):
        raise UserError(
            f"example {example.id}: the chat template's generation prompt is no prefix of the rendered conversation, "
            "so what is supervised cannot be told apart; use a template that renders both alike"
        )
    ids: list[int] = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
    end = max((i for i, token in enumerate(ids) if token in special), default=len(ids))
    if tokenizer.decode(ids[end + 1 :]).strip():  # a special token inside the response, and none after it
        end = len(ids)
    return ids[: end + 1] if end < len(ids) else [*ids, tokenizer.eos_token_id]


@cache
def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """All special tokens by id; `all_special_ids` lacks those without a role, which `<end_of_turn>` may be."""
    special = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {**special, tokenizer.eos_token_id: tokenizer.eos_token}


def write(path: Path, sequences: Iterable[Sequence]) -> None:
    """Writes sequences to Parquet."""
    rows = [{"id": s.id, "ids": list(s.ids), "prompt_length": s.prompt_length} for s in sequences]
    write_parquet(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def read(path: Path) -> list[Sequence]:
    """Reads what `write` wrote."""
    return [Sequence(r["id"], tuple(r["ids"]), r["prompt_length"]) for r in read_parquet(path).to_pylist()]
