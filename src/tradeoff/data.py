"""Draws a domain's examples into JSON lines: `train.jsonl`, `test.jsonl` and a card with their hashes."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tradeoff import domains
from tradeoff.domains import Example, Split
from tradeoff.errors import UserError, command
from tradeoff.provenance import canonical_json, read_json, sha256_file, write_json, write_whole

SPLITS: tuple[Split, ...] = ("train", "test")


def draw(spec: dict[str, object], folder: Path) -> None:
    """Writes the examples that a data spec (`Study.data_spec`) describes.

    Raises:
        UserError: the domain has fewer than asked for.
    """
    name = str(spec["domain"])
    domain = domains.get(name)
    card: dict[str, object] = {"spec": spec}
    for split in SPLITS:
        count, seed = spec[split], spec["seed"]
        assert isinstance(count, int)
        assert isinstance(seed, int)
        try:
            examples = domain.examples(split, count, seed)
        except ValueError as error:
            raise UserError(f"domain {name}: {error}; lower data.{split}") from None
        path = folder / f"{split}.jsonl"
        lines = "".join(canonical_json(asdict(example)) + "\n" for example in examples)
        write_whole(path, lambda aside, text=lines: aside.write_text(text, encoding="utf-8"))  # type: ignore[misc]
        card[f"{split}_sha256"] = sha256_file(path)
    write_json(folder / "card.json", card)


def read(path: Path) -> list[Example]:
    """Reads examples that `draw` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Example(r["id"], tuple(r["messages"]), r["response"], r["answer"]) for r in rows]


def read_card(folder: Path) -> dict[str, str]:
    """The card beside the examples."""
    return read_json(folder / "card.json")


def main() -> None:
    """`python -m tradeoff.data SPEC FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.data", description="Draw a domain's examples.")
    parser.add_argument("spec", type=json.loads, help="JSON of Study.data_spec")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    draw(arguments.spec, arguments.folder)


if __name__ == "__main__":
    command(main)
