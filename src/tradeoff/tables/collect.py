"""Runs' folders to one frame of samples: what was asked for, checked against what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tradeoff.errors import UserError
from tradeoff.evaluation import Benchmark, samples
from tradeoff.parquet import read_parquet
from tradeoff.provenance import CARD, base_run_id, read_json
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


def from_params(entries: list[dict[str, Any]], root: Path) -> list[Entry]:
    """Entries that went through JSON, in the folder of a study."""
    return [
        Entry(
            **{
                **entry,
                "folder": root / entry["folder"],
                "base_folder": root / entry["base_folder"],
                "benchmarks": tuple(entry["benchmarks"]),
            }
        )
        for entry in entries
    ]


def card_of(entry: Entry) -> dict[str, Any]:
    """A run's card, checked against the study.

    Raises:
        UserError: the folder holds another run than the study asks for.
    """
    card = read_json((entry.base_folder if entry.method == BASE else entry.folder) / CARD)
    if entry.spec is not None and card["spec"] != entry.spec:
        raise UserError(f"{entry.folder}: made from another spec than the study's; delete the folder and run again")
    return card


def collect(entries: list[Entry], benchmarks: Mapping[str, Benchmark]) -> pd.DataFrame:
    """All items of all entries, in the columns of `schemas.SAMPLES` and of `samples.CODE`, with `fraction` and `step`.

    A snapshot's fraction of the training is below 1; `step` is its alone.

    Raises:
        UserError: a benchmark or a metric is missing somewhere, or two models were not asked alike.
    """
    frames = []
    for entry in entries:
        card, base = card_of(entry), read_json(entry.base_folder / CARD)
        frame = read_parquet(entry.folder / "samples.parquet", schema=samples.SCHEMA).to_pandas()
        for name in entry.benchmarks:
            rows = frame[frame["benchmark"] == name]
            for metric in benchmarks[name].metrics:
                if not any(metric in dict(values) for values in rows["values"]):
                    raise UserError(f"{entry.folder}/samples.parquet: no {metric} of {name}; delete it and run again")
        run = {
            "run_id": base_run_id(entry.model, card["sha256"]) if entry.method == BASE else card["run_id"],
            "model": entry.model,
            "revision": base["revision"],
            "domain": entry.domain,
            "method": entry.method,
            "recipe": BASE if entry.method == BASE else card["spec"]["method"]["recipe"],
            "learning_rate": None if entry.rate is None else float(entry.rate),
            "seed": entry.seed,
        }
        way = {"fraction": card.get("fraction", 1.0), "step": card.get("step")}
        frames.append(frame[frame["benchmark"].isin(entry.benchmarks)].assign(**run, **way))
    table = pd.concat(frames, ignore_index=True)
    _check_asked_alike(table)
    _check_one_prompt(table)
    return table.astype({**schemas.NULLABLE, "step": "Int32"})


def check_one_lock(entries: list[Entry], allowed: bool) -> None:
    """Refuses runs that were trained with different packages, or says that there are such.

    Raises:
        UserError: the runs' cards name several locks, and this is not allowed.
    """
    locks = {card_of(entry).get("lock"): entry.folder for entry in entries if entry.spec is not None}
    if len(locks) < 2:
        return
    (one, folder), (other, another), *_ = locks.items()
    found = f"{folder} was trained under the lock {str(one)[:16]} and {another} under {str(other)[:16]}"
    if not allowed:
        raise UserError(
            f"{found}: packages may differ, and runs are not compared; delete the folders of one kind and run again, "
            "or say allow_mixed: [lock] in the study"
        )
    print(f"{found}; the study allows it")


def texts(items: pd.DataFrame) -> pd.DataFrame:
    """Of what `collect` found the items whose code length was measured, as `theory.code_length` reads them."""
    measured = items[items["token_nll"].notna()].rename(columns={"text_bytes": "bytes"})
    columns = [f.name for f in schemas.RUN if f.name != "revision"]
    return measured[[*columns, "fraction", "benchmark", "item", "token_nll", "bytes"]].reset_index(drop=True)


def strings(items: pd.DataFrame) -> dict[tuple[str, str, str], list[str]]:
    """Of each model, domain and item, its right response's tokens in letters, which all runs share."""
    once = items[items["token_text"].notna() & (items["method"] == BASE)]
    keys = zip(once["model"], once["benchmark"], once["item"], strict=True)
    return {key: list(tokens) for key, tokens in zip(keys, once["token_text"], strict=True)}


def _check_one_prompt(table: pd.DataFrame) -> None:
    """Refuses runs that read other prompts than their base for the same item.

    Raises:
        UserError: two prompts of an item differ.
    """
    read = table.groupby(["model", "benchmark", "item"], sort=False)["prompt"].nunique()
    if len(differ := read[read > 1]):
        model, benchmark, item = differ.index[0]
        raise UserError(
            f"{benchmark}: {model} and its runs read different prompts for {item} and {len(differ) - 1} more items; "
            "delete the samples.parquet of one kind and run again"
        )


def _check_asked_alike(table: pd.DataFrame) -> None:
    """Refuses scores of one benchmark that were got in different ways; chat templates may differ between base models.

    Raises:
        UserError: two models were asked differently.
    """
    for column in ("task_version", *(field.name for field in schemas.PROMPTING)):
        groups = ["benchmark", "model"] if column in ("template", "system_turn") else ["benchmark"]
        for (name, *_), rows in table.groupby(groups, sort=False):
            found = rows.drop_duplicates(column)
            if len(found) > 1:
                values = [None if pd.isna(value) else value for value in found[column]]
                one, other = (f"{v!r} for {m}" for v, m in zip(values[:2], found["method"], strict=False))
                raise UserError(
                    f"{name}: {column} is {one} and {other}; scores under different settings are not compared: "
                    "delete the samples.parquet of one and run again"
                )
