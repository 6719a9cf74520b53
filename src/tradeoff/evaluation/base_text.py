"""Text sampled once from the base model on fixed general prompts: a continuous, low-noise measure of forgetting.

A model's code length on it is its mean nll in nats per token. Since the text is drawn from the base itself, at
temperature 1 from the whole vocabulary, the code length minus the base's own is an unbiased estimate of
KL(base || model) per token.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from transformers import PreTrainedModel

from tradeoff import machine
from tradeoff.errors import command
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, general
from tradeoff.evaluation.lm import Question, Response
from tradeoff.evaluation.samples import Sample
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.chat import Chat, plain
from tradeoff.models.generation import Prompt, Scored, drawn, generate, score, shared_opening
from tradeoff.models.precision import DTYPES, device
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.training.tokens import Sequence

SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.int32()), nullable=False),
        pa.field("prompt_length", pa.int32(), nullable=False),
        pa.field("nll", pa.list_(pa.float32()), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
NEW_TOKENS = 64
PROMPTS = (
    "Why is the sky blue?",
    "Tell me a short story about a lighthouse.",
    "How do I make a good cup of tea?",
    "What is the difference between weather and climate?",
    "Write a polite email asking for a day off.",
    "Explain how a bicycle stays upright.",
    "What should I see on a first visit to Rome?",
    "Give me three ideas for a birthday present.",
    "How does a vaccine work?",
    "Write a poem about the sea.",
    "What causes the seasons?",
    "Summarize the story of Romeo and Juliet.",
    "How can I learn to play the guitar?",
    "What is inflation?",
    "Describe the life of a honey bee.",
    "Write a Python function that reverses a string.",
    "How do I get a red wine stain out of a shirt?",
    "Who was Marie Curie?",
    "What makes bread rise?",
    "Give advice to someone who is nervous about a job interview.",
    "What is the capital of Australia, and why is it not Sydney?",
    "Explain photosynthesis to a child.",
    "How do airplanes fly?",
    "Suggest a simple dinner for two.",
    "What are the rules of chess in brief?",
    "Why do we dream?",
    "Describe a walk through a forest in autumn.",
    "What is the purpose of a constitution?",
    "How can a small town attract visitors?",
    "Write a dialogue between a cat and a dog.",
    "What is machine learning?",
    "How do I save energy at home?",
)


@dataclass(frozen=True)
class Text:
    """A prompt, the base's continuation, the base's losses on it, nats, and it in letters, without special tokens."""

    prompt: str
    sequence: Sequence
    nll: tuple[float, ...]
    text: str


def sample(model: PreTrainedModel, chat: Chat, count: int, seed: int) -> list[Text]:
    """Draws at most `count` texts, one a prompt, each of at most `NEW_TOKENS` tokens."""
    prompts = [chat.prompt([{"role": "user", "content": p}]) for p in PROMPTS[:count]]
    heads = [chat.prompt_ids(p) for p in prompts]
    opening = shared_opening(heads)
    asked = [Prompt(head, NEW_TOKENS, opening) for head in heads]
    written = generate(model, asked, chat.ends, chat.pad_id, choose=drawn(seed))
    sequences = [
        Sequence(f"{BASE_TEXT}-{number:03}", (*head, *ids), len(head))
        for number, (head, ids) in enumerate(zip(heads, written, strict=True))
    ]
    scored = score(model, sequences, chat.pad_id)
    texts = [chat.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    return [
        Text(plain(prompt), sequence, tuple(found.nll_T.tolist()), text)
        for prompt, sequence, found, text in zip(prompts, sequences, scored, texts, strict=True)
    ]


@dataclass(frozen=True)
class BaseText:
    """The texts as a `Measurement`: code length and KL(base || model) of each, nats per token."""

    texts: list[Text]

    @property
    def prompts(self) -> list[str]:
        """See `Measurement`."""
        return [text.prompt for text in self.texts]

    @property
    def questions(self) -> list[Question]:
        """See `Measurement`."""
        return []

    @property
    def sequences(self) -> list[Sequence]:
        """See `Measurement`."""
        return [text.sequence for text in self.texts]

    def samples(self, responses: Iterable[Response], scored: Iterable[Scored]) -> list[Sample]:
        """See `Measurement`; texts weigh by their tokens."""
        rows = []
        for text, found in zip(self.texts, scored, strict=True):
            mean, base_mean = found.nll_T.double().mean().item(), sum(text.nll) / len(text.nll)
            weight = float(len(text.nll))
            rows.append(
                Sample(
                    benchmark=BASE_TEXT,
                    task_version=general(BASE_TEXT).version,
                    item=text.sequence.id,
                    prompt=text.prompt,
                    target=text.text,
                    response="",
                    truncated=False,
                    invalid=False,
                    values={"kl": mean - base_mean, CODE_LENGTH: mean},
                    weights={"kl": weight, CODE_LENGTH: weight},
                    token_nll=found.nll_T.tolist(),
                    text_bytes=len(text.text.encode()),
                )
            )
        return rows


def write(path: Path, texts: list[Text]) -> None:
    """Writes texts to Parquet."""
    rows = [
        {
            "prompt": t.prompt,
            "ids": t.sequence.ids,
            "prompt_length": t.sequence.prompt_length,
            "nll": t.nll,
            "text": t.text,
        }
        for t in texts
    ]
    write_parquet(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def read(path: Path) -> list[Text]:
    """Reads what `write` wrote."""
    return [
        Text(
            r["prompt"],
            Sequence(f"{BASE_TEXT}-{n:03}", tuple(r["ids"]), r["prompt_length"]),
            tuple(r["nll"]),
            r["text"],
        )
        for n, r in enumerate(read_parquet(path).to_pylist())
    ]


def main() -> None:
    """`python -m tradeoff.evaluation.base_text BASE OUTPUT`."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.evaluation.base_text", description="Sample the base's text."
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--seed", type=int, required=True)
    a = parser.parse_args()
    machine.take()
    model = load_base(a.base, DTYPES[a.precision]).to(device())
    write(a.output, sample(model, load_chat(a.base), a.items, a.seed))


if __name__ == "__main__":
    command(main)
