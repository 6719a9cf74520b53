"""Trains one run: spec in, `delta.safetensors`, `steps.parquet` and `card.json` out."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from accelerate import PartialState
from torch import Tensor

from tradeoff import machine, methods
from tradeoff.errors import command
from tradeoff.models.base import load_base, load_chat, load_parameters
from tradeoff.models.delta import DELTA, Delta
from tradeoff.parquet import write_parquet
from tradeoff.progress import Progress
from tradeoff.provenance import (
    CARD,
    carded,
    digest,
    lock_sha256,
    read_json,
    run_id,
    sha256_file,
    write_json,
    write_whole,
)
from tradeoff.training import batches, tokens
from tradeoff.training.base_nll import read_means
from tradeoff.training.checkpoints import Checkpoints
from tradeoff.training.loop import train
from tradeoff.training.settings import AT, Training

STEPS_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("loss", pa.float64(), nullable=False),
        pa.field("nll", pa.float64(), nullable=False),
        pa.field("mean_weight", pa.float64(), nullable=False),
        pa.field("gradient_norm", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("supervised_tokens", pa.int64(), nullable=False),
    ]
)


def train_run(
    spec: dict[str, Any],
    code: str,
    base: Path,
    data_card: Path,
    encoded: Path,
    base_nll: Path | None,
    output: Path,
    checkpoints: Path,
    fractions: Sequence[float] = (),
    every_seconds: float = 300.0,
) -> None:
    """Trains what a run spec (`Study.run_spec`) describes; the card is written last.

    Args:
        spec: Of the run.
        code: Digest of the code.
        base: Folder of the base model.
        data_card: Of the training examples.
        encoded: The examples as tokens.
        base_nll: The base's losses on them, for a method that needs them.
        output: Folder of the run.
        checkpoints: Folder of all runs' checkpoints.
        fractions: Of the training, after which the difference to the base is kept as well, in folders `at=<fraction>`.
        every_seconds: How often one is written.
    """
    base_sha256, data_sha256 = read_json(base / CARD)["sha256"], read_json(data_card)["sha256"]
    method = methods.build(spec["method"])
    sequences = tokens.read(carded(encoded))
    parameters = load_parameters(base)
    settings = Training.model_validate(spec["training"], strict=False)  # infinity is "inf"
    steps = batches.number_of_steps(len(sequences), settings.batch_size, settings.epochs)
    at = {fraction: max(1, round(fraction * steps)) for fraction in fractions}
    decides = [spec, code, base_sha256, data_sha256, sha256_file(encoded), sha256_file(base_nll) if base_nll else None]
    kept = Checkpoints(checkpoints / digest([*decides, sorted(at.values()), machine.processes()]), every_seconds)
    # With the checkpoints, since Snakemake removes what a job that failed has written.
    snapshots = {step: kept.folder / f"after-{step:08}.safetensors" for step in at.values()}
    progress = Progress(f"train {' '.join(output.parts[-3:])}", steps)
    with kept.watching():
        result = train(
            load_base(base),
            sequences,
            method,
            settings,
            float(spec["learning_rate"]),
            spec["seed"],
            load_chat(base).pad_id,
            parameters,
            read_means(base_nll) if base_nll else None,
            lambda step: progress.advance(to=step.step + 1, note=f"nll {step.nll:.3f}"),
            kept,
            {step: partial(_save, path) for step, path in snapshots.items()},
        )
    if not PartialState().is_main_process:
        return
    result.delta.save(output / DELTA)
    rows = pa.Table.from_pylist([asdict(step) for step in result.steps], schema=STEPS_SCHEMA)
    write_parquet(output / "steps.parquet", rows)
    made = {
        "run_id": run_id(spec, base_sha256, data_sha256),
        "spec": spec,
        "base_sha256": base_sha256,
        "data_sha256": data_sha256,
        "code": code,
        "lock": lock_sha256(),
    }
    machine.record(output)
    for fraction, step in at.items():
        folder = output / f"{AT}{fraction:g}"
        write_whole(folder / DELTA, partial(shutil.copyfile, snapshots[step]))
        _write_card(folder, {**made, "fraction": fraction, "step": step}, parameters)
    _write_card(
        output,
        {
            **made,
            "training": {
                "steps": len(result.steps),
                "tokens": sum(s.tokens for s in result.steps),
                "supervised_tokens": sum(s.supervised_tokens for s in result.steps),
                "mean_weight": sum(s.mean_weight for s in result.steps) / len(result.steps),
                "mean_gradient_norm": sum(s.gradient_norm for s in result.steps) / len(result.steps),
                "first_nll": result.steps[0].nll,
                "last_nll": result.steps[-1].nll,
            },
            "cost": result.cost,
        },
        parameters,
    )
    kept.clear()


def _save(path: Path, delta: Delta) -> None:
    if PartialState().is_main_process:
        delta.save(path)


def _write_card(folder: Path, card: dict[str, Any], base: dict[str, Tensor]) -> None:
    """The card of the delta in a folder, which is measured as it is stored: that is the result."""
    measured = {"delta_sha256": sha256_file(folder / DELTA), "update": Delta.load(folder / DELTA).statistics(base)}
    write_json(folder / CARD, card | measured)


def main() -> None:
    """`python -m tradeoff.training.train`, see --help."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.training.train", description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="JSON of Study.run_spec")
    parser.add_argument("--code", required=True, help="digest of the code, for the card")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="card of the training examples")
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--base-nll", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of all runs' checkpoints")
    parser.add_argument("--checkpoint-seconds", type=float, default=300.0)
    parser.add_argument("--snapshots", type=Path, nargs="*", default=[], help="cards to be written in at=<fraction>/")
    parser.add_argument("--processes", type=int, default=1, help="that train together, each with a GPU of its own")
    a = parser.parse_args()
    machine.several(a.processes)
    machine.take()
    fractions = [float(card.parent.name.removeprefix(AT)) for card in a.snapshots]
    places = (a.base, a.data, a.tokens, a.base_nll, a.output, a.checkpoints)
    train_run(a.spec, a.code, *places, fractions, a.checkpoint_seconds)


if __name__ == "__main__":
    command(main)
