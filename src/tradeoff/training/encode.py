"""Tokenises a domain's training examples for a model, once for all methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from tradeoff import data
from tradeoff.errors import UserError, command
from tradeoff.models import load_tokenizer
from tradeoff.provenance import sha256_file, write_json
from tradeoff.training import batches, tokens


def encode(base: Path, examples: Path, max_length: int, output: Path) -> None:
    """Writes `output` and a card beside it that counts what was kept, dropped and merged.

    Raises:
        UserError: nothing is left to supervise.
    """
    tokenizer = load_tokenizer(base)
    drawn = data.read(examples)
    encoded = [tokens.encode(tokenizer, example) for example in drawn]
    kept = [s for s in encoded if s.targets > 0 and len(s.ids) <= max_length]
    if not kept:
        raise UserError(f"{examples}: no example has at most {max_length} tokens; raise training.max_length")
    tokens.write(output, kept)
    card = {
        "sha256": sha256_file(output),
        **batches.describe(kept),
        "dropped_too_long": sum(len(s.ids) > max_length for s in encoded),
        "dropped_nothing_supervised": sum(s.targets <= 0 for s in encoded),
        "merged_at_boundary": sum(tokens.merges_at_boundary(tokenizer, example) for example in drawn),
    }
    write_json(output.with_suffix(".json"), card)
    print(f"{examples}: {card}")


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
