"""Items that the base answered right and a tuned model wrong, or the other way round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from tradeoff.evaluation import Benchmark
from tradeoff.parquet import read_parquet
from tradeoff.report.results import Pair, number, point_text
from tradeoff.study import BASE
from tradeoff.tables.scores import Score
from tradeoff.tables.verdicts import TAKE

EACH_WAY = 3
READ = ["run_id", "benchmark", "item", "prompt", "target", "response", "values"]


@dataclass(frozen=True)
class Flip:
    """One item."""

    benchmark: str
    item: str
    prompt: str
    target: str
    before: str
    after: str


@dataclass(frozen=True)
class Flips:
    """Of one model and domain, what a run gained and what it lost.

    Attributes:
        pair: Model and domain.
        point: The method and rate that are looked at, in words.
        base: run_id of the base.
        run: run_id of the tuned model, the first seed of its point.
        gained: From wrong to right.
        lost: From right to wrong.
        counts: How many there are each way, of which a few are here.
    """

    pair: Pair
    point: str
    base: str
    run: str
    gained: Sequence[Flip]
    lost: Sequence[Flip]
    counts: tuple[int, int]


def wanted(
    recommendation: pd.DataFrame, tradeoff: pd.DataFrame, scores: pd.DataFrame
) -> dict[Pair, tuple[str, str, str]]:
    """For each model and domain: a point in words, the base's run_id and that of the point's first seed.

    The point is what is offered for the least bound that has one, or else the best estimate for the largest bound,
    or else what gains most on the domain.
    """
    found = {}
    for key, rows in tradeoff.groupby(["model", "domain"], sort=False):
        pair = Pair(*map(str, key))
        method, rate = _point(pair.rows(recommendation), rows[rows["method"] != BASE])
        runs = pair.rows(scores)
        runs = runs[(runs["method"] == method) & (runs["learning_rate"].astype(float) == rate)].sort_values(
            "seed", kind="stable"
        )
        base = scores[(scores["model"] == pair.model) & (scores["method"] == BASE)]
        found[pair] = (point_text(method, rate), str(base["run_id"].iloc[0]), str(runs["run_id"].iloc[0]))
    return found


def read(path: Path, runs: Iterable[str]) -> pd.DataFrame:
    """The samples of some runs alone: a study's are too many to hold for a few."""
    return read_parquet(path, columns=READ, filters=pc.field("run_id").isin(sorted(set(runs)))).to_pandas()


def flips(
    samples: pd.DataFrame,
    asked: Mapping[Pair, tuple[str, str, str]],
    benchmarks: Mapping[str, Benchmark],
    scored: Mapping[str, Score],
) -> list[Flips]:
    """A few items each way, from as many benchmarks as there are: the domain first, then the general ones in turn."""
    found = []
    for pair, (point, base, run) in asked.items():
        names = [pair.domain, *scored[pair.domain]]
        before, after = (_answers(samples, run_id, names, benchmarks) for run_id in (base, run))
        both = before.add_suffix("_before").join(after.add_suffix("_after"), how="inner").reset_index()
        gained = both[(both["right_before"] < 0.5) & (both["right_after"] > 0.5)]
        lost = both[(both["right_before"] > 0.5) & (both["right_after"] < 0.5)]
        right, wrong = ([_flip(row) for row in _in_turn(side, names)] for side in (gained, lost))
        found.append(Flips(pair, point, base, run, right, wrong, (len(gained), len(lost))))
    return found


def _point(recommendation: pd.DataFrame, tuned: pd.DataFrame) -> tuple[str, float]:
    named = recommendation[recommendation["method"].notna()].sort_values("bound", kind="stable")
    sure = named[named["verdict"].isin(TAKE)]
    if len(named):
        row = sure.iloc[0] if len(sure) else named.iloc[-1]
    else:
        row = tuned.iloc[int(tuned["domain_change"].astype(float).argmax())]
    return str(row["method"]), float(row["learning_rate"])


def _answers(
    samples: pd.DataFrame, run_id: str, names: Sequence[str], benchmarks: Mapping[str, Benchmark]
) -> pd.DataFrame:
    """What one run answered, by benchmark and item, with the value of the benchmark's first metric."""
    rows = samples[(samples["run_id"] == run_id) & samples["benchmark"].isin(names)].copy()
    rows["right"] = [
        number(dict(values).get(benchmarks[name].metrics[0]))
        for name, values in zip(rows["benchmark"], rows["values"], strict=True)
    ]
    return rows.set_index(["benchmark", "item"])[["prompt", "target", "response", "right"]].sort_index()


def _in_turn(rows: pd.DataFrame, names: Sequence[str]) -> list[dict[Any, Any]]:
    """At most `EACH_WAY`, one of each benchmark before a second of any."""
    of_name: list[list[dict[Any, Any]]] = [rows[rows["benchmark"] == n].to_dict("records") for n in names]
    turns = [records[turn] for turn in range(EACH_WAY) for records in of_name if turn < len(records)]
    return turns[:EACH_WAY]


def _flip(row: Mapping[Any, Any]) -> Flip:
    texts = (row["prompt_before"], row["target_before"], row["response_before"], row["response_after"])
    return Flip(str(row["benchmark"]), str(row["item"]), *map(str, texts))
