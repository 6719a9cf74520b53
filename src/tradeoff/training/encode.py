"""Tokenises a domain's training examples for a model, once for all methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tradeoff import data
from tradeoff.domains import Example
from tradeoff.errors import UserError, command
from tradeoff.models import load_tokenizer
from tradeoff.provenance import sha256_file, write_json
from tradeoff.training import batches, tokens


def encode(base: Path, examples: Path, max_length: int, output: Path) -> None:
    """Writes `output` and a card beside it that counts what was kept, dropped and merged.

    Raises:
        UserError: nothing is left to train on.
    """
    kept, counts = kept_of(load_tokenizer(base), data.read(examples), max_length)
    if not kept:
        raise UserError(f"{examples}: {nothing_left(counts, max_length)}")
    tokens.write(output, kept)
    card = {"sha256": sha256_file(output), **batches.describe(kept), **counts}
    write_json(output.with_suffix(".json"), card)
    print(f"{examples}: {card}")


def kept_of(
    tokenizer: PreTrainedTokenizerBase, drawn: list[Example], max_length: int
) -> tuple[list[tokens.Sequence], dict[str, int]]:
    """The examples that can be trained on, as tokens, and how many were dropped for which reason, or look odd."""
    encoded = [tokens.encode(tokenizer, example) for example in drawn]
    kept = [s for s in encoded if s.targets > 0 and len(s.ids) <= max_length]
    return kept, {
        "dropped_too_long": sum(len(s.ids) > max_length for s in encoded),
        "dropped_nothing_supervised": sum(s.targets <= 0 and len(s.ids) <= max_length for s in encoded),
        "merged_at_boundary": sum(tokens.merges_at_boundary(tokenizer, example) for example in drawn),
    }


def nothing_left(counts: dict[str, int], max_length: int) -> str:
    """Why no example can be trained on, and the remedy."""
    if counts["dropped_too_long"]:
        return f"no example has at most {max_length} tokens and something to supervise; raise training.max_length"
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
