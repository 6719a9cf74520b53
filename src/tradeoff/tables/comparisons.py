"""Every method at every rate against the base and against plain SFT, in every metric, item by item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.replicates import CLOSE, Array, Replicates, interval

SFT = "sft"


def comparisons(studied: Iterable[Replicates]) -> pd.DataFrame:
    """In the columns of `schemas.COMPARISONS`: one metric of one pair of points a row."""
    rows = [row for of in studied for p, other, name in _pairs(of) for row in _rows(of, p, other, name)]
    return pd.DataFrame(rows, columns=schemas.COMPARISONS.names)


def mcnemar(ours: Array, theirs: Array) -> float | None:
    """The exact two-sided p of as many items better and worse, were both as likely; None if an outcome is not 0 or 1.

    Without an item on which the two differ, it is 1.
    """
    if not all(np.isin(side, (0.0, 1.0)).all() for side in (ours, theirs)):
        return None
    better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _pairs(of: Replicates) -> Iterator[tuple[int, int, str]]:
    """A point, the point that it is compared with, and what that one is called."""
    sft = {(of.points[q].learning_rate, name): q for name in of.of_recipe(SFT) for q in of.methods[name]}
    for p, point in enumerate(of.points[1:], start=1):
        yield p, 0, BASE
        for (rate, name), q in sft.items():
            if rate == point.learning_rate and name != point.method:
                yield p, q, name


def _rows(of: Replicates, p: int, other: int, against: str) -> Iterator[dict[str, Any]]:
    for metric, scores in of.scores.items():
        ours, theirs = of.outcomes[metric][:, p], of.outcomes[metric][:, other]
        yield {
            **of.key(p),
            "against": against,
            "benchmark": metric.benchmark,
            "metric": metric.name,
            "filter": metric.filter,
            **interval("difference", scores[:, p] - scores[:, other]),
            "n": len(ours),
            "better": int((ours - theirs > CLOSE).sum()),
            "worse": int((theirs - ours > CLOSE).sum()),
            "p_value": mcnemar(ours, theirs),
        }
