"""Does theory predict practice? Rank correlation over a study's runs of predicted with measured general cost.

Predictions, each of which calls for a higher cost where it is higher:

- `gain`: what the domain's code length fell by; theorem 1's D*.
- `gain_times_rate`: the same times the learning rate, theorem 1's term in lambda.
- `hard_weight`: the method's share of weight on tokens that are hard for the base, times the rate; theorem 2.
- `delta_norm`: distance from the base in weights; no theory, and the control for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tradeoff.evaluation import Benchmark
from tradeoff.study import BASE
from tradeoff.tables.replicates import REPLICATES, SEED, Array, Metric, interval
from tradeoff.tables.schemas import PREDICTION
from tradeoff.tables.scores import Score, general_mean

PREDICTIONS = ("gain", "gain_times_rate", "hard_weight", "delta_norm")
LEAST = 4  # runs


def runs(
    lengths: pd.DataFrame,
    weights: pd.DataFrame,
    delta_norms: Mapping[str, float],
    general_scores: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One finished run a row with its predictions and measured costs.

    Args:
        lengths: In the columns of `schemas.CODE_LENGTH_TABLE`.
        weights: In the columns of `schemas.TOKEN_WEIGHTS`.
        delta_norms: Of each run_id, its distance from the base.
        general_scores: Of each run_id, its change of the general score against the base; without, that is no outcome.
    """
    ended = lengths[(lengths["fraction"] == 1) & (lengths["method"] != BASE)]
    ended = ended.assign(side="change_" + ended["side"])
    keys = ["run_id", "model", "domain", "method", "learning_rate"]
    wide = ended.pivot(index=keys, columns="side", values="change").reset_index()
    first = weights[(weights["method"] == BASE) & (weights["kind"] == "all")]
    on_hard = first.set_index(["model", "domain", "weighing"])["weight_hard"]
    found = wide[["run_id", "model", "domain"]].copy()
    rate = wide["learning_rate"].astype(float)
    found["gain"] = -wide["change_domain"].astype(float)
    found["gain_times_rate"] = found["gain"] * rate
    weighing = zip(wide["model"], wide["domain"], wide["method"], strict=True)
    found["hard_weight"] = on_hard.loc[list(weighing)].to_numpy() * rate
    found["delta_norm"] = found["run_id"].map(delta_norms)
    if "change_general" in wide:
        found["general_code_length"] = wide["change_general"].astype(float)
    if general_scores is not None:
        found["general_score"] = -found["run_id"].map(general_scores)
    return found


def general_changes(
    scores: pd.DataFrame, benchmarks: Mapping[str, Benchmark], scored: Mapping[str, Score]
) -> dict[str, float]:
    """Of each run_id, its general score less the base's.

    Args:
        scores: In the columns of `schemas.SCORES`.
        benchmarks: All of the study.
        scored: As of `replicates`.
    """
    value, runs, base = {}, {}, {}
    for row in scores.to_dict("records"):
        run_id, benchmark = str(row["run_id"]), str(row["benchmark"])
        if Metric.of(benchmark, benchmarks[benchmark].metrics[0]) == (benchmark, row["metric"], row["filter"]):
            value[run_id, benchmark] = float(row["value"])
        if row["method"] == BASE:
            base[row["model"]] = run_id
        else:
            runs[run_id] = row["model"], scored[str(row["domain"])]
    changes = {
        run_id: {name: np.array(value[run_id, name] - value[base[model], name]) for name in names}
        for run_id, (model, names) in runs.items()
    }
    return {run_id: float(general_mean(changes[run_id], names)) for run_id, (_, names) in runs.items()}


def prediction(of_runs: pd.DataFrame, count: int = REPLICATES) -> pd.DataFrame:
    """Correlations in the columns of `schemas.PREDICTION`, for each model and domain with at least `LEAST` runs.

    The interval is that of a bootstrap over runs and the p-value that of a permutation of the outcome, two-sided: runs
    of one study share their items and data, so that both are too hopeful.

    Args:
        of_runs: As `runs` gives them.
        count: Replicates and permutations.
    """
    rows: list[dict[str, Any]] = []
    for (model, domain), group in of_runs.groupby(["model", "domain"], sort=False):
        if len(group) >= LEAST:
            rows += [{"model": model, "domain": domain, **row} for row in _correlations(group, count)]
    return pd.DataFrame(rows).reindex(columns=PREDICTION.names)


def spearman(x: Array, y: Array, control: Array | None = None) -> float:
    """Rank correlation, partial given a control; NaN where one of both does not vary, or not beside the control."""
    ranks = [rankdata(values) for values in (x, y)]
    if control is not None:
        ranks = [_residual(of, rankdata(control)) for of in ranks]
    x, y = (of - of.mean() for of in ranks)
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 1e-9 * len(x) ** 3 else float("nan")


def _correlations(group: pd.DataFrame, count: int) -> Iterator[dict[str, Any]]:
    norm = group["delta_norm"].to_numpy(float)
    for outcome in ("general_code_length", "general_score"):
        if outcome not in group:
            continue
        for name in PREDICTIONS:
            for label, control in {"none": None, "delta_norm": norm}.items():
                if name == label:
                    continue
                pair = group[name].to_numpy(float), group[outcome].to_numpy(float)
                words = f"{name},{outcome},{label}"
                yield {
                    "prediction": name,
                    "outcome": outcome,
                    "control": label,
                    **_tested(*pair, control, words, count),
                }


def _tested(x: Array, y: Array, control: Array | None, words: str, count: int) -> dict[str, Any]:
    """The correlation with interval and p-value."""
    estimate = spearman(x, y, control)
    draw = np.random.default_rng([SEED, crc32(words.encode())])
    chosen = draw.integers(0, len(x), (count, len(x)))
    replicates = np.array([spearman(x[at], y[at], None if control is None else control[at]) for at in chosen])
    kept = replicates[np.isfinite(replicates)]
    p_value: float | None = None
    if np.isfinite(estimate):
        permuted = np.array([spearman(x, draw.permutation(y), control) for _ in range(count)])
        p_value = float((1 + (np.abs(permuted) >= abs(estimate) - 1e-12).sum()) / (1 + count))
    found = (
        interval("rho", np.concatenate([[estimate], kept]))
        if len(kept)
        else dict.fromkeys(("rho", "rho_low", "rho_high"))
    )
    return {**found, "p_value": p_value, "runs": len(x)}


def _residual(ranks: Array, control: Array) -> Array:
    """What a straight line in the control leaves of ranks."""
    centred = control - control.mean()
    variance = float((centred**2).sum())
    return ranks - ranks.mean() - (centred * float((centred * ranks).sum()) / variance if variance > 0 else 0)
