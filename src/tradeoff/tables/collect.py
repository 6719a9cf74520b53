"""Runs' folders to one frame of samples: what was asked for, checked against what is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from tradeoff import evaluation
from tradeoff.errors import UserError
from tradeoff.evaluation import samples
from tradeoff.models import CARD
from tradeoff.provenance import read_json
from tradeoff.study import BASE
from tradeoff.tables import schemas


@dataclass(frozen=True)
class Entry:
    """One model of a study: a run, or a base.

    Attributes:
        folder: Holds `card.json` and `samples.parquet`.
        model: Name of the base model.
        domain: None for a base.
        method: Name in the study, or "base".
        rate: Learning rate in canonical spelling; None for a base.
        seed: None for a base.
        spec: What the study asks for; a folder made from another spec is stale.
        benchmarks: What must have been evaluated.
        base_folder: The base's own.
    """

    folder: Path
    model: str
    domain: str | None
    method: str
    rate: str | None
    seed: int | None
    spec: dict[str, Any] | None
    benchmarks: tuple[str, ...]
    base_folder: Path


def card_of(entry: Entry) -> dict[str, Any]:
    """A run's card, checked against the study.

    Raises:
        UserError: the folder holds another run than the study asks for.
    """
    card = read_json((entry.base_folder if entry.method == BASE else entry.folder) / CARD)
    if entry.spec is not None and card["spec"] != entry.spec:
        raise UserError(f"{entry.folder}: made from another spec than the study's; delete the folder and run again")
    return card


def collect(entries: list[Entry], settings: dict[str, Any]) -> pd.DataFrame:
    """All items of all entries, in the columns of `schemas.SAMPLES`.

    Raises:
        UserError: a benchmark or a metric is missing somewhere.
    """
    frames = []
    for entry in entries:
        card, base = card_of(entry), read_json(entry.base_folder / CARD)
        frame = pq.read_table(entry.folder / "samples.parquet", schema=samples.SCHEMA).to_pandas()
        for name in entry.benchmarks:
            rows = frame[frame["benchmark"] == name]
            for metric in evaluation.benchmark(name).metrics:
                if rows.empty or not all(metric in dict(values) for values in rows["values"]):
                    raise UserError(f"{entry.folder}/samples.parquet: no {metric} of {name}; delete it and run again")
        run = {
            "run_id": card["sha256"][:16] if entry.method == BASE else card["run_id"],
            "model": entry.model,
            "revision": base["revision"],
            "domain": entry.domain,
            "method": entry.method,
            "recipe": BASE if entry.method == BASE else card["spec"]["method"]["recipe"],
            "learning_rate": None if entry.rate is None else float(entry.rate),
            "seed": entry.seed,
            "precision": settings["precision"],
            "batch_size": settings["batch_size"],
        }
        frames.append(frame[frame["benchmark"].isin(entry.benchmarks)].assign(**run))
    table = pd.concat(frames, ignore_index=True)
    # Columns that are null in one frame and not in another must not change their type on the way.
    return table.astype({"learning_rate": "Float64", "seed": "Int32"})[schemas.SAMPLES.names]
