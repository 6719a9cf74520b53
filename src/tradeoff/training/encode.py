"""Tokenises a domain's training examples for a model, once for all methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from tradeoff import data
from tradeoff.domains import Example
from tradeoff.errors import UserError, command
from tradeoff.models.base import context, load_chat
from tradeoff.models.chat import Chat
from tradeoff.provenance import sha256_file, write_json
from tradeoff.training import batches, tokens


def encode(base: Path, examples: Path, max_length: int, output: Path) -> None:
    """Writes `output` and a card beside it that counts what was kept, dropped and merged.

    Raises:
        UserError: nothing is left to train on.
    """
    limit = longest(max_length, context(base))
    kept, counts = kept_of(load_chat(base), data.read(examples), limit)
    if not kept:
        raise UserError(f"{examples}: {nothing_left(counts, limit)}")
    tokens.write(output, kept)
    card = {"sha256": sha256_file(output), **batches.describe(kept), **counts}
    write_json(output.with_suffix(".json"), card)
    print(f"{examples}: {card}")


def longest(max_length: int, context: int | None) -> int:
    """Most tokens of an example: a study's `max_length`, or what the model reads if that is less."""
    return max_length if context is None else min(max_length, context)


def kept_of(chat: Chat, drawn: list[Example], max_length: int) -> tuple[list[tokens.Sequence], dict[str, int]]:
    """The examples that can be trained on, as tokens, and how many were dropped for which reason, or look odd."""
    encoded = [chat.encode_and_compare(example) for example in drawn]
    kept = [s for s, _ in encoded if s.targets > 0 and len(s.ids) <= max_length]
    return kept, {
        "dropped_too_long": sum(len(s.ids) > max_length for s, _ in encoded),
        "dropped_nothing_supervised": sum(s.targets <= 0 and len(s.ids) <= max_length for s, _ in encoded),
        "merged_at_boundary": sum(merges for _, merges in encoded),
    }


def nothing_left(counts: dict[str, int], max_length: int) -> str:
    """Why no example can be trained on, and the remedy."""
    if counts["dropped_too_long"]:
        return (
            f"no example has at most {max_length} tokens and something to supervise; raise training.max_length, if the "
            "model reads more"
        )
    return "no example has a token to supervise; give the responses some text"


def main() -> None:
    """`python -m tradeoff.training.encode BASE EXAMPLES MAX_LENGTH OUTPUT`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.training.encode", description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("examples", type=Path)
    parser.add_argument("max_length", type=int)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    encode(arguments.base, arguments.examples, arguments.max_length, arguments.output)


if __name__ == "__main__":
    command(main)
