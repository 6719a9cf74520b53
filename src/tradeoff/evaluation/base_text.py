"""Text sampled once from the base model on fixed general prompts: a continuous, low-noise measure of forgetting.

A model's code length on it is its mean nll in nats per token. Since the text is drawn from the base itself, at
temperature 1 from the whole vocabulary, the code length minus the base's own is an unbiased estimate of
KL(base || model) per token.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from transformers import PreTrainedModel

from tradeoff import machine
from tradeoff.errors import command
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, general
from tradeoff.evaluation.samples import Sample
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.chat import Chat, plain
from tradeoff.models.generation import drawn, generate
from tradeoff.models.precision import DTYPES, device
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.training.base_nll import token_losses
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
BATCH_TOKENS = 1024
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


def sample(model: PreTrainedModel, chat: Chat, count: int, precision: str, seed: int) -> list[Text]:
    """Draws at most `count` texts, one a prompt, each of at most `NEW_TOKENS` tokens."""
    prompts = [chat.prompt([{"role": "user", "content": p}]) for p in PROMPTS[:count]]
    heads = [chat.prompt_ids(p) for p in prompts]
    limits = [NEW_TOKENS] * len(heads)
    written = generate(model, heads, limits, chat.ends, chat.pad_id, drawn(seed))
    sequences = [
        Sequence(f"{BASE_TEXT}-{number:03}", (*head, *ids), len(head))
        for number, (head, ids) in enumerate(zip(heads, written, strict=True))
    ]
    nll = token_losses(model, sequences, chat.pad_id, BATCH_TOKENS, precision, "base text")
    texts = [chat.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    return [Text(plain(p), s, tuple(n.tolist()), t) for p, s, n, t in zip(prompts, sequences, nll, texts, strict=True)]


def score(model: PreTrainedModel, texts: list[Text], pad_id: int, precision: str, label: str) -> list[Sample]:
    """Code length and KL(base || model) on each text, nats per token; texts weigh by their tokens."""
    sequences = [text.sequence for text in texts]
    nll = token_losses(model, sequences, pad_id, BATCH_TOKENS, precision, label)
    version = general(BASE_TEXT).version
    rows = []
    for text, tensor in zip(texts, nll, strict=True):
        mean, base_mean = tensor.double().mean().item(), sum(text.nll) / len(text.nll)
        weight = float(len(text.nll))
        rows.append(
            Sample(
                benchmark=BASE_TEXT,
                task_version=version,
                item=text.sequence.id,
                prompt=text.prompt,
                target=text.text,
                response="",
                truncated=False,
                invalid=False,
                values={"kl": mean - base_mean, CODE_LENGTH: mean},
                weights={"kl": weight, CODE_LENGTH: weight},
                token_nll=tensor.tolist(),
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
    write(a.output, sample(model, load_chat(a.base), a.items, a.precision, a.seed))


if __name__ == "__main__":
    command(main)
