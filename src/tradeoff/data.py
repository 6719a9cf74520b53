"""Draws a split of a domain into JSON lines, with a card beside it.

Large files have such a card with their hash: Snakemake compares small inputs by content, so that jobs which depend on
the card run again when the data changed, and not when it was touched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tradeoff import domains, hub
from tradeoff.domains import Example
from tradeoff.errors import UserError, command
from tradeoff.provenance import canonical_json, carded, sha256_file, write_json, write_whole
from tradeoff.sources import fetched, read_rows, registry


def draw(spec: dict[str, Any], files: dict[str, Path], path: Path) -> None:
    """Writes the examples that a data spec (`Study.data_spec`) describes, and a card beside them with their hash.

    Args:
        spec: Of the split.
        files: Where each file that it is made of lies.
        path: JSON lines to write.

    Raises:
        UserError: the domain has fewer than asked for, or a file is not what it should be.
    """
    domain = domains.build(spec["domain"])
    try:
        examples = domain.examples(spec["split"], spec["count"], spec["seed"], files)
    except ValueError as error:
        raise UserError(f"domain {domain.kind}, {spec['split']}: {error}") from None
    write(path, examples, {"spec": spec})


def write(path: Path, examples: Iterable[Example], card: dict[str, Any]) -> None:
    """Writes examples as JSON lines, and their hash and number into the card beside them."""
    lines = [canonical_json(asdict(example)) + "\n" for example in examples]
    write_whole(path, lambda aside: aside.write_text("".join(lines), encoding="utf-8"))
    write_json(path.with_suffix(".json"), {**card, "examples": len(lines), "sha256": sha256_file(path)})


def read(path: Path) -> list[Example]:
    """Reads examples that `draw` wrote; see `carded`."""
    return [Example(**{**row, "messages": tuple(row["messages"])}) for row in read_rows(carded(path))]


def main() -> None:
    """`python -m tradeoff.data SPEC FILE FILES`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.data", description="Draw a domain's examples.")
    parser.add_argument("spec", type=json.loads, help="JSON of Study.data_spec")
    parser.add_argument("file", type=Path, help="JSON lines to write")
    parser.add_argument("files", type=json.loads, help="JSON of the files by name; a datum is its card")
    a = parser.parse_args()
    draw(a.spec, located(a.files), a.file)


def located(files: dict[str, str]) -> dict[str, Path]:
    """The files of `Study.read_by`, of which those with a card are read where the card says."""
    carded = {name for name in files if name in registry() or hub.NAME.fullmatch(name)}
    return {name: fetched(Path(path)) if name in carded else Path(path) for name, path in files.items()}


if __name__ == "__main__":
    command(main)
