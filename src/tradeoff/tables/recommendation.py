"""The answer to a study's question, for each loss of general score that one would accept, or what is missing for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.tables import schemas
from tradeoff.tables.replicates import CLOSE, Array, Replicates, in_words, interval
from tradeoff.tables.views import BOUNDS

RECOMMENDED, NOT_ENOUGH, NOTHING = "recommended", "not enough evidence", "nothing qualifies"
WITHIN = 0.95  # share of replicates in which the loss has to be within the bound


def recommendation(studied: Iterable[Replicates]) -> pd.DataFrame:
    """In the columns of `schemas.RECOMMENDATION`.

    A method at a rate qualifies for a bound if by the estimates it gains on the domain and its general score falls by
    no more than the bound. The best of those gains most. It is recommended if three things hold: the 95 % interval of
    its gain is above 0, its loss is within the bound in at least `WITHIN` of the replicates, and the interval of its
    lead over the best point of another method that qualifies is above 0. Of fewer than `ENOUGH` items nothing is
    recommended. A bound of 0 is taken as it stands: any loss, however small, is more. The best is chosen by the numbers
    that it is judged by, so that its gain is somewhat flattered, the more so the more runs a study has.
    """
    rows = [_row(of, bound) for of in studied for bound in BOUNDS]
    return pd.DataFrame(rows, columns=schemas.RECOMMENDATION.names)


def qualifies(of: Replicates, bound: float) -> npt.NDArray[np.bool_]:
    """Where a point gains on the domain and loses no more than the bound, [1 + replicates, points]; the base never."""
    return (of.domain_change > CLOSE) & (of.general_change >= -bound - CLOSE)


def _row(of: Replicates, bound: float) -> dict[str, Any]:
    empty = dict.fromkeys(schemas.RECOMMENDATION.names)
    row = empty | {"model": of.model, "domain": of.domain, "bound": bound, "caveat": _caveat(of)}
    able = qualifies(of, bound)
    ranked = _ranked(of, able[0])
    if not ranked:
        return row | {"verdict": NOTHING, "reason": _why_nothing(of, bound)}
    best = ranked[0]
    second = next((p for p in ranked if of.points[p].method != of.points[best].method), None)
    gains = np.where(able, of.domain_change, -np.inf)
    row |= {
        "method": of.points[best].method,
        "learning_rate": of.points[best].learning_rate,
        **interval("domain_change", of.domain_change[:, best]),
        **interval("general_change", of.general_change[:, best]),
        "p_within": float((of.general_change[1:, best] >= -bound - CLOSE).mean()),
        "p_best": float((able[:, best] & (gains[:, best] >= gains.max(axis=1) - CLOSE))[1:].mean()),
    }
    lead = None
    if second is not None:
        lead = of.domain_score[:, best] - of.domain_score[:, second]
        row |= {"runner_up": of.points[second].method, "runner_up_rate": of.points[second].learning_rate}
        row |= interval("lead", lead)
    doubts = _doubts(of, row, best, second, lead)
    if doubts:
        reason = f"{of.name(best)} gains most, but {'; '.join(doubts)}. More items or seeds would tell."
    else:
        reason = _praise(of, row, best, second, lead)
    return row | {"verdict": NOT_ENOUGH if doubts or of.few else RECOMMENDED, "reason": reason}


def _ranked(of: Replicates, able: npt.NDArray[np.bool_]) -> list[int]:
    """Points that qualify, the greatest gain first; of equal gains the smaller loss, then the smaller rate."""
    gain, general = of.domain_change[0].round(9), of.general_change[0].round(9)
    return sorted(np.flatnonzero(able).tolist(), key=lambda p: (-gain[p], -general[p], of.points[p].learning_rate or 0))


def _doubts(of: Replicates, row: dict[str, Any], best: int, second: int | None, lead: Array | None) -> list[str]:
    """What is missing for a recommendation, in words."""
    found = []
    if row["domain_change_low"] <= CLOSE:
        found.append(f"its gain cannot be told from none ({in_words(of.domain_change[:, best])})")
    if row["p_within"] < WITHIN:
        exact = " (0 allows no loss, however small)" if row["bound"] == 0 else ""
        found.append(
            f"its loss is within {row['bound']:g} in {row['p_within']:.0%} of the replicates and not in {WITHIN:.0%}"
            f"{exact}, general score {in_words(of.general_change[:, best])}"
        )
    if second is not None and lead is not None and row["lead_low"] <= CLOSE:
        found.append(f"it cannot be told from {of.name(second)} (lead {in_words(lead)})")
    return found


def _praise(of: Replicates, row: dict[str, Any], best: int, second: int | None, lead: Array | None) -> str:
    gain, general = in_words(of.domain_change[:, best]), in_words(of.general_change[:, best])
    over = "no other method qualifies" if second is None or lead is None else f"over {of.name(second)} {in_words(lead)}"
    return (
        f"{of.name(best)} gains most on {of.domain} ({gain}; {over}), and its loss is within {row['bound']:g} in "
        f"{row['p_within']:.0%} of the replicates (general score {general})."
    )


def _why_nothing(of: Replicates, bound: float) -> str:
    gain, general = of.domain_change[0, 1:], of.general_change[0, 1:]
    gaining = np.flatnonzero(gain > CLOSE) + 1
    if not len(gaining):
        return f"No method gains on {of.domain} at any rate (at most {gain.max():+z.3f})."
    least = int(gaining[np.argmax(general[gaining - 1])])
    return (
        f"Every run that gains on {of.domain} loses more than {bound:g} of general score; the least is "
        f"{of.name(least)} with {in_words(of.general_change[:, least])}."
    )


def _caveat(of: Replicates) -> str | None:
    """What holds for every bound."""
    few = f"Intervals from {of.few} items are too narrow to rely on." if of.few else ""
    one_seed = "One seed: the spread between trainings is not in these intervals." if of.one_seed else ""
    return " ".join(filter(None, (few, one_seed))) or None
