"""How every point stands at each bound on the loss: what is offered, what is as good, what is safe, what is open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from tradeoff.tables import schemas
from tradeoff.tables.recommendation import Judged
from tradeoff.tables.verdicts import TAKE, Verdict

OFFERED = "offered"  # by the verdict
ESTIMATE = "best estimate"  # named for want of evidence
EQUIVALENT = "equivalent"  # safe, and within the tolerance of the best
SAFE = "safe"  # shown to gain, and to lose no more than the bound
OPEN = "open"  # neither shown to be safe nor to lose more
OUTSIDE = "loses more"  # shown


def standing(judged: Iterable[Judged]) -> pd.DataFrame:
    """In the columns of `schemas.STANDING`, the base left out, from what `judge` found.

    Where a verdict is held back, because it hangs on an assumed spread, nothing is safe. A bound of 0 has no rows.
    """
    rows: list[dict[str, Any]] = []
    for one in judged:
        for bound, kind, found in one.bounds:
            if bound > 0:
                rows += [
                    {**one.of.key(p), "bound": bound, "standing": _standing(kind, found, p), **_at_least(found, p)}
                    for p in range(1, len(one.of.points))
                ]
    return pd.DataFrame(rows, columns=schemas.STANDING.names)


def _standing(kind: str, found: Verdict, point: int) -> str:
    taken = kind in TAKE
    if point == found.point:
        return OFFERED if taken else ESTIMATE
    if point not in found.rivals:
        return OUTSIDE
    if not taken or point not in found.safe:
        return OPEN
    return EQUIVALENT if point in found.equivalent else SAFE


def _at_least(found: Verdict, point: int) -> dict[str, float | None]:
    names = {"gain_at_least": found.gain.lower, "general_at_least": found.change.lower}
    if point not in found.rivals:
        return dict.fromkeys(names)
    at = found.rivals.index(point)
    return {name: float(lower[at]) for name, lower in names.items()}
