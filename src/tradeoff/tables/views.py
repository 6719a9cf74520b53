"""Methods compared otherwise than at one learning rate: within a bound on the loss, at one gain, one norm, one KL.

`bounded_loss`: of each method the rate that gains most on the domain among those whose general score falls by no more
than the bound; the estimates choose the rate, and the intervals are those at this rate.

`matched_gain`, `matched_norm`, `matched_kl`: a method's points, from the base through its rates in ascending order, are
joined by straight lines over the gain on the domain, the norm of the update or the KL divergence from the base on its
own text, and read where they first cross a level. The lines are drawn anew in every replicate; the levels stay. A
replicate in which a method does not come up to a level is read at its farthest point, which its interval then shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.tables import schemas
from tradeoff.tables.replicates import CLOSE, Array, Replicates, change, interval

BOUNDS = (0.0, 0.01, 0.02, 0.05)  # on the loss of general score: 0.01 is one point
SHARES = (0.25, 0.5, 0.75)  # where the levels lie in the range that two methods have in common


def views(studied: Iterable[Replicates], updates: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """In the columns of `schemas.VIEWS`.

    Args:
        studied: Every model and domain of a study.
        updates: For each run_id of a run, a mapping that has its "delta_norm".
    """
    rows: list[dict[str, Any]] = []
    for of in studied:
        norms = delta_norms(of, updates)
        rows += [*_bounded_loss(of)]
        rows += [*_matched(of, "matched_gain", of.domain_change, _levels(of, of.domain_change))]
        rows += [*_matched(of, "matched_norm", norms, _log_levels(of, norms))]
        if of.kl is not None and np.isfinite(of.kl).all():  # one text alone tells nothing of its spread
            rows += [*_matched(of, "matched_kl", change(of.kl), _levels(of, change(of.kl)))]
    return pd.DataFrame(rows, columns=schemas.VIEWS.names)


def delta_norms(of: Replicates, updates: Mapping[str, Mapping[str, Any]]) -> Array:
    """The norm of each point's update, the mean over its runs and 0 for the base, [1, points]."""
    norms = [np.mean([updates[run_id]["delta_norm"] for run_id in of.runs[p]]) for p in range(1, len(of.points))]
    return np.array([[0.0, *norms]])


def crossing(x: Array, y: Array, level: float) -> tuple[Array, Array]:
    """Where the line through the points first comes up to a level of x, and y there.

    Args:
        x: [replicates, points in their order]; the first point, the base, is below the level.
        y: Likewise.
        level: Of x. A line that does not come up to it is read where x is greatest.

    Returns:
        x and y, [replicates] each.
    """
    row, reaches, farthest = np.arange(len(x)), x >= level - CLOSE, x.argmax(axis=1)
    after = np.maximum(np.where(reaches.any(axis=1), reaches.argmax(axis=1), farthest), 1)
    x0, x1, y0, y1 = x[row, after - 1], x[row, after], y[row, after - 1], y[row, after]
    rise = x1 - x0
    # A line that only falls ends where it starts: there x1 < x0, and the share is 0.
    share = np.clip(np.divide(level - x0, rise, out=(rise >= 0).astype(float), where=rise > CLOSE), 0.0, 1.0)
    return x0 + share * rise, y0 + share * (y1 - y0)


def _bounded_loss(of: Replicates) -> Iterator[dict[str, Any]]:
    gain, general = of.domain_change, of.general_change
    for bound in BOUNDS:
        for points in of.methods.values():
            within = [p for p in points if general[0, p] >= -bound - CLOSE]
            if within:
                best = max(within, key=lambda p: round(gain[0, p], 9))  # of equal ones the smallest rate
                yield _row(of, "bounded_loss", bound, best, gain[:, best], general[:, best])


def _matched(of: Replicates, view: str, x: Array, levels: list[float]) -> Iterator[dict[str, Any]]:
    """Rows of the methods whose estimates come up to a level; x may be known exactly, [1, points]."""
    gain, general = of.domain_change, of.general_change
    x = np.broadcast_to(x, gain.shape)
    for level in levels:
        for points in of.methods.values():
            if x[0, points].max() < level - CLOSE:
                continue
            path = [0, *points]
            there = crossing(x[:, path], gain[:, path], level)[1], crossing(x[:, path], general[:, path], level)[1]
            at = next((p for p in points if abs(x[0, p] - level) <= CLOSE), None)
            yield _row(of, view, level, points[0], *there) | {
                "learning_rate": None if at is None else of.points[at].learning_rate
            }


def _row(of: Replicates, view: str, at: float, point: int, gain: Array, general: Array) -> dict[str, Any]:
    return of.key(point) | {
        "view": view,
        "at": at,
        **interval("domain_change", gain),
        **interval("general_change", general),
    }


def _levels(of: Replicates, x: Array) -> list[float]:
    """A quarter, a half and three quarters of the way to the farthest that two methods come."""
    farthest = sorted(float(x[0, points].max()) for points in of.methods.values())[-2:-1]
    return [share * end for end in farthest for share in SHARES if end > CLOSE]


def _log_levels(of: Replicates, norms: Array) -> list[float]:
    """The same shares of the way, in logarithms, from the least norm that two methods have to the greatest.

    Norms are spread like learning rates, over orders of magnitude: equal steps would all lie at the large rates.
    """
    least = sorted(float(norms[0, points].min()) for points in of.methods.values())[1:2]
    most = sorted(float(norms[0, points].max()) for points in of.methods.values())[-2:-1]
    levels = [
        math.exp(math.log(min(start, end)) + share * (math.log(end) - math.log(min(start, end))))
        for start, end in zip(least, most, strict=True)
        if min(start, end) > 0
        for share in SHARES
    ]
    return list(dict.fromkeys(levels))
