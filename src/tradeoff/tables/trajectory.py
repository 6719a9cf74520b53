"""The way of a training: what its snapshots score, from the base to the finished run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.evaluation import Benchmark
from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.replicates import ASSUMED_SD, REPLICATES, Replicates, change, interval, replicates
from tradeoff.tables.scores import Score

RunAt = tuple[str, float]


def trajectory(
    snapshots: pd.DataFrame,
    samples: pd.DataFrame,
    updates: Mapping[str, Mapping[str, Any]],
    benchmarks: Mapping[str, Benchmark],
    scored: Mapping[str, Score],
    norms: Mapping[RunAt, float] | None = None,
    count: int = REPLICATES,
    assumed_sd: float = ASSUMED_SD,
) -> pd.DataFrame:
    """In the columns of `schemas.TRAJECTORY`: each method and rate that has snapshots, from the base to its run.

    A snapshot is one more point of the same bootstrap, so that it is paired with the base and with its run.

    Args:
        snapshots: In the columns of `schemas.SAMPLES`, with the `fraction` of the training that was done (below 1) and
            its `step`; `run_id` is the run's.
        samples: Of bases and runs, in the columns of `schemas.SAMPLES`.
        updates: For each run_id of a run, a mapping that has its "delta_norm" and "steps".
        benchmarks: All of the study, in its order.
        scored: As of `replicates`.
        norms: The norm of the update at a snapshot, by run_id and fraction; null where it is not given.
        count: How many replicates.
        assumed_sd: As of `replicates`.

    Raises:
        UserError: two models, or two seeds of one, were asked different items.
    """
    if snapshots.empty:
        return pd.DataFrame(columns=schemas.TRAJECTORY.names)
    of_runs = samples[(samples["method"] == BASE) | samples["run_id"].isin(snapshots["run_id"])]
    every = pd.concat([of_runs.assign(fraction=1.0), snapshots.drop(columns="step")], ignore_index=True)
    steps: dict[RunAt, int] = {(run_id, 1.0): update["steps"] for run_id, update in updates.items()}
    steps |= {(run_id, at): int(step) for run_id, at, step in snapshots[["run_id", "fraction", "step"]].to_numpy()}
    lengths: dict[RunAt, float | None] = {(run_id, 1.0): update["delta_norm"] for run_id, update in updates.items()}
    lengths |= norms or {}
    rows: list[dict[str, Any]] = []
    for of in replicates(every, benchmarks, scored, count, assumed_sd):
        paths: dict[tuple[Any, ...], list[int]] = {}
        for p, point in enumerate(of.points[1:], start=1):
            paths.setdefault(point[:3], []).append(p)
        for path in paths.values():
            rows.append(_row(of, 0, path[0], 0, 0.0))
            for p in sorted(path, key=lambda p: of.points[p].fraction):
                keys = [(run_id, of.points[p].fraction) for run_id in of.runs[p]]
                rows.append(_row(of, p, p, round(_mean([steps[key] for key in keys])), _mean(map(lengths.get, keys))))
    return pd.DataFrame(rows, columns=schemas.TRAJECTORY.names)


def _row(of: Replicates, at: int, path: int, step: int, norm: float | None) -> dict[str, Any]:
    """The point `at` on the way of the method and rate of the point `path`."""
    scores = {"domain_score": of.domain_score, "general_score": of.general_score}
    changes = {"domain_change": of.domain_change, "general_change": of.general_change}
    lengths = {"domain_code_length": of.code_length, "domain_code_length_change": change(of.code_length)}
    columns = scores | changes | lengths
    if of.kl is not None:
        columns["kl"] = of.kl
    return {
        **dict.fromkeys(schemas.TRAJECTORY.names),
        **of.key(path),
        "fraction": of.points[at].fraction if at else 0.0,
        "step": step,
        **{key: value for name, column in columns.items() for key, value in interval(name, column[:, at]).items()},
        "delta_norm": norm,
    }


def _mean(values: Iterable[float | None]) -> float:
    """NaN if one is not known."""
    return float(np.mean([math.nan if value is None else value for value in values]))
