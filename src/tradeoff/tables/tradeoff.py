"""Scores to the trade-off: what each method at each rate gains on the domain for what it loses in general ability."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from tradeoff.evaluation import CODE_LENGTH
from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.pareto import pareto
from tradeoff.tables.replicates import Array, Replicates, change, interval


def tradeoff(studied: Iterable[Replicates], updates: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One (model, domain, method, learning rate) a row, in the columns of `schemas.tradeoff` of general benchmarks.

    Values are means over seeds. A change is paired: against the base on the same items, in every replicate.

    Args:
        studied: Every model and domain of a study.
        updates: For each run_id of a run, its card's "update", "training" and "cost" merged.
    """
    rows = [row for of in studied for row in _rows(of, updates)]
    return pd.DataFrame(rows)


def _rows(of: Replicates, updates: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    columns = {"domain_score": of.domain_score, "general_score": of.general_score, "general_plain": of.general_plain}
    columns |= {name: of.scores[of.primary[name]] for name in of.general}
    columns |= {f"domain_{CODE_LENGTH}": of.code_length}
    front = pareto(list(zip(of.domain_score[0], of.general_score[0], strict=True)))
    return [
        {
            **of.key(p),
            "seeds": len(of.runs[p]),
            **{key: value for name, scores in columns.items() for key, value in _both(name, scores, p).items()},
            **cost([updates[run_id] for run_id in of.runs[p] if point.method != BASE]),
            "n_truncated": of.n_truncated[p],
            "n_invalid": of.n_invalid[p],
            "pareto": front[p],
        }
        for p, point in enumerate(of.points)
    ]


def _both(name: str, scores: Array, point: int) -> dict[str, float]:
    """A score and its change against the base, with their intervals."""
    changed = f"{name.removesuffix('_score')}_change"
    return interval(name, scores[:, point]) | interval(changed, change(scores)[:, point])


def cost(runs: list[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """The means over a point's runs in the columns of `schemas.COST`; None for the base, which has none."""
    means: dict[str, float | int | None] = {}
    for field in schemas.COST:
        values = [run.get(field.name) if field.name == "energy_joules" else run[field.name] for run in runs]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if known and len(known) == len(values) else None
        means[field.name] = round(mean) if mean is not None and pa.types.is_integer(field.type) else mean
    return means
