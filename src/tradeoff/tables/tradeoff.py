"""Scores to the trade-off: what each method at each rate gains on the domain for what it loses in general ability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.errors import UserError
from tradeoff.evaluation import CODE_LENGTH, Benchmark
from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.scores import Array, long, weighted_mean

Z95 = 1.959963984540054


def tradeoff(
    samples: pd.DataFrame,
    updates: Mapping[str, Mapping[str, Any]],
    benchmarks: Mapping[str, Benchmark],
    scored: Mapping[str, list[str]],
) -> pd.DataFrame:
    """One (model, domain, method, learning rate) a row, in the columns of `schemas.tradeoff` of general benchmarks.

    Values are means over seeds. A change is paired: the mean over items of the difference to the base on the same item,
    with the standard error over items and a 95 % normal interval. The general score is the plain mean of the primary
    metrics of those general benchmarks that are scored for the domain.

    Args:
        samples: In the columns of `schemas.SAMPLES`.
        updates: For each run_id of a run, its card's "update", "training" and "cost" merged.
        benchmarks: All of the study, in its order.
        scored: For each domain, the benchmarks of the general score.
    """
    items = long(samples)
    general = [name for name in benchmarks if name not in scored]
    rows = []
    for model, of_model in items.groupby("model", sort=False):
        base = of_model[of_model["method"] == BASE]
        runs = of_model[of_model["method"] != BASE]
        for domain, of_domain in runs.groupby("domain", sort=False):
            groups: list[tuple[Any, pd.DataFrame]] = [((BASE, BASE, None), base)]
            groups += [(key, run) for key, run in of_domain.groupby(["method", "recipe", "learning_rate"], sort=False)]
            primary = {name: benchmarks[name].metrics[0] for name in [str(domain), *general]}
            found = [_row(key, run, base, primary, scored[str(domain)], updates) for key, run in groups]
            front = pareto([(row["domain_score"], row["general_score"]) for row in found])
            rows += [{"model": model, **row, "pareto": on} for row, on in zip(found, front, strict=True)]
    return pd.DataFrame(rows)[schemas.tradeoff(general).names]


def pareto(points: list[tuple[float, float]]) -> list[bool]:
    """For each point, whether no other is at least as good in both and better in one; higher is better."""
    return [not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points) for p in points]


def _row(
    key: tuple[str, str, float | None],
    run: pd.DataFrame,
    base: pd.DataFrame,
    primary: Mapping[str, str],
    scored: list[str],
    updates: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    method, recipe, rate = key
    domain, *general = primary
    run = run[run["benchmark"].isin(primary)]
    parts = {name: _paired(run, base, name, metric) for name, metric in primary.items()}
    columns = {name: parts[name] for name in general}
    columns[f"domain_{CODE_LENGTH}"] = _paired(run, base, domain, CODE_LENGTH)
    row: dict[str, Any] = {
        "domain": domain,
        "method": method,
        "recipe": recipe,
        "learning_rate": rate,
        "seeds": max(1, run["seed"].nunique()),
        **_side("domain", [parts[domain]]),
        **_side("general", [parts[name] for name in scored]),
    }
    for name, part in columns.items():
        row |= {name: part["score"], f"{name}_change": part["change"], f"{name}_change_stderr": part["change_stderr"]}
    costs = [updates[run_id] for run_id in run["run_id"].unique() if method != BASE]
    for column in ("delta_norm", "share_moved", "share_kept_bfloat16", "tokens", "seconds", "peak_memory_bytes"):
        values = [cost[column] for cost in costs]
        mean = sum(values) / len(values) if values else None
        row[column] = round(mean) if mean is not None and column in ("tokens", "peak_memory_bytes") else mean
    asked = run.drop_duplicates(["run_id", "benchmark", "item"])
    row["n_truncated"] = int(asked["truncated"].sum())
    row["n_invalid"] = int(asked["invalid"].sum())
    return row


def _paired(run: pd.DataFrame, base: pd.DataFrame, name: str, metric: str) -> dict[str, float]:
    """Score and paired change in one metric, over the items that both were asked.

    Raises:
        UserError: they were asked different items.
    """
    ours, theirs = (_by_item(_only(side, name, metric)) for side in (run, base))
    if not ours.index.equals(theirs.index):
        found = ", ".join(f"{side['method'].iat[0]} {len(of)}" for side, of in ((run, ours), (base, theirs)))
        raise UserError(f"{name}: models were asked different items ({found}); delete their samples and run again")
    weights = theirs["weight"].to_numpy(float)
    values: Array = ours["value"].to_numpy(float)
    score, stderr = weighted_mean(values, weights)
    change, change_stderr = weighted_mean(values - theirs["value"].to_numpy(float), weights)
    return {"score": score, "stderr": stderr, "change": change, "change_stderr": change_stderr}


def _only(rows: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    metric, _, its_filter = metric.partition(",")
    wanted = {"benchmark": name, "metric": metric, "filter": its_filter or "none"}
    return rows[(rows[list(wanted)] == list(wanted.values())).all(axis=1)]


def _by_item(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each item, which every seed must have been asked."""
    of_item = rows.groupby("item", sort=True)
    if not of_item.size().eq(rows["run_id"].nunique()).all():
        what = f"{rows['benchmark'].iat[0]}: seeds of {rows['method'].iat[0]}"
        raise UserError(f"{what} were asked different items; delete their samples and run again")
    return of_item[["value", "weight"]].mean()


def _side(side: str, parts: list[dict[str, float]]) -> dict[str, float]:
    """The plain mean of some benchmarks, whose items are independent of each other's."""
    count = len(parts)
    score, change = (float(np.mean([part[what] for part in parts])) for what in ("score", "change"))
    stderr, change_stderr = (
        math.sqrt(sum(part[what] ** 2 for part in parts)) / count for what in ("stderr", "change_stderr")
    )
    return {
        f"{side}_score": score,
        f"{side}_stderr": stderr,
        f"{side}_change": change,
        f"{side}_change_stderr": change_stderr,
        f"{side}_change_low": change - Z95 * change_stderr,
        f"{side}_change_high": change + Z95 * change_stderr,
    }
