"""Draws a split of a domain into JSON lines, with a card beside it.

Large files have such a card with their hash: Snakemake compares small inputs by content, so that jobs which depend on
the card run again when the data changed, and not when it was touched.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tradeoff import domains
from tradeoff.domains import Example
from tradeoff.errors import UserError, command
from tradeoff.provenance import canonical_json, sha256_file, write_json, write_whole


def draw(spec: dict[str, Any], path: Path) -> None:
    """Writes the examples that a data spec (`Study.data_spec`) describes, and a card beside them with their hash.

    Raises:
        UserError: the domain has fewer than asked for.
    """
    try:
        examples = domains.get(spec["domain"]).examples(spec["split"], spec["count"], spec["seed"])
    except ValueError as error:
        raise UserError(f"domain {spec['domain']}: {error}; lower data.{spec['split']}") from None
    lines = "".join(canonical_json(asdict(example)) + "\n" for example in examples)
    write_whole(path, lambda aside: aside.write_text(lines, encoding="utf-8"))
    write_json(path.with_suffix(".json"), {"spec": spec, "sha256": sha256_file(path)})


def read(path: Path) -> list[Example]:
    """Reads examples that `draw` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Example(r["id"], tuple(r["messages"]), r["response"], r["answer"]) for r in rows]


def main() -> None:
    """`python -m tradeoff.data SPEC FILE`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.data", description="Draw a domain's examples.")
    parser.add_argument("spec", type=json.loads, help="JSON of Study.data_spec")
    parser.add_argument("file", type=Path, help="JSON lines to write")
    arguments = parser.parse_args()
    draw(arguments.spec, arguments.file)


if __name__ == "__main__":
    command(main)
