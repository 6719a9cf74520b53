"""A run that transforms another's delta, such as averaging: only its card is written, the delta is formed when read."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tradeoff import machine, methods
from tradeoff.errors import command
from tradeoff.models.base import load_delta, load_parameters
from tradeoff.provenance import CARD, lock_sha256, read_json, run_id, write_json

# A snapshot knows where it was taken; a finished run, what it cost.
FROM_SOURCE = ("base_sha256", "data_sha256", "fraction", "step", "training", "cost")


def derive(spec: dict[str, Any], code: str, base: Path, source: Path, output: Path) -> None:
    """Writes the card of the run that a spec with a `source` describes; training and its cost are the source's."""
    card = read_json(source / CARD)
    assert card["spec"] == spec["source"], f"{source}: not the run that {output} is derived from"
    delta = methods.build(spec["method"]).finish(load_delta(source))
    write_json(
        output / CARD,
        {
            **{key: card[key] for key in FROM_SOURCE if key in card},
            "run_id": run_id(spec, card["base_sha256"], card["data_sha256"]),
            "spec": spec,
            "code": code,
            "lock": lock_sha256(),
            "derived_from": os.path.relpath(source, output),
            "source_delta_sha256": card["delta_sha256"],
            "update": delta.statistics(load_parameters(base)),
        },
    )


def main() -> None:
    """`python -m tradeoff.training.derive`, see --help."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.training.derive", description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="JSON of Study.run_spec")
    parser.add_argument("--code", required=True, help="digest of the code, for the card")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--snapshots", type=Path, nargs="*", default=[], help="cards to be written in at=<fraction>/")
    a = parser.parse_args()
    for snapshot in a.snapshots:
        derive(a.spec, a.code, a.base, a.source / snapshot.parent.name, snapshot.parent)
    machine.record(a.output)
    derive(a.spec, a.code, a.base, a.source, a.output)


if __name__ == "__main__":
    command(main)
