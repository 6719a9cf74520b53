"""The answer to a study's question, for each loss of general score that one would accept, or what is missing for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tradeoff.tables import needs, schemas
from tradeoff.tables.replicates import Replicates, in_words, interval
from tradeoff.tables.verdicts import (
    BEST,
    NOT_ENOUGH,
    NOTHING,
    SAFE,
    TAKE,
    UNSHOWN,
    Rules,
    Verdict,
    intervals,
    verdict,
)
from tradeoff.tables.views import BOUNDS

USUAL = Rules()
KINDS = {"learning_rate": "Float64", "rival_rate": "Float64", "needed_items": "Int32", "needed_seeds": "Int32"}


class Judged(NamedTuple):
    """A base model on a domain, with the verdicts about it.

    Attributes:
        of: What every point scored.
        rules: The study's.
        updates: As of `judge`.
        bounds: Each bound on the loss, with the word for its verdict and the verdict.
    """

    of: Replicates
    rules: Rules
    updates: Mapping[str, Mapping[str, Any]]
    bounds: list[tuple[float, str, Verdict]]


def judge(
    studied: Iterable[Replicates], rules: Rules = USUAL, updates: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Judged]:
    """Reaches the verdicts of a study, by `verdicts.verdict`.

    Args:
        studied: Every model and domain of it.
        rules: Its own.
        updates: For each run_id of a run, a mapping that has the training's "flops": of equivalent points the cheapest
            is offered first, and of equally cheap ones the smallest learning rate.
    """
    judged = []
    for of in studied:
        cost = [(_flops(of, p, updates or {}), point.learning_rate or 0.0) for p, point in enumerate(of.points)]
        found = [(bound, verdict(of.domain_change, of.general_change, bound, rules, cost)) for bound in BOUNDS]
        bounds = [(bound, offered(of, its, rules), its) for bound, its in found]
        judged.append(Judged(of, rules, updates or {}, bounds))
    return judged


def recommendation(judged: Iterable[Judged]) -> pd.DataFrame:
    """In the columns of `schemas.RECOMMENDATION`, from what `judge` found."""
    rows = [row for one in judged for row in _rows(one)]
    table = pd.DataFrame(rows, columns=schemas.RECOMMENDATION.names)
    return table.astype(KINDS)


def offered(of: Replicates, found: Verdict, rules: Rules) -> str:
    """The word for a verdict, which is held back where it hangs on an assumption that the study does not allow."""
    held = found.kind in TAKE and not rules.one_seed and _assumes(of, found)
    return NOT_ENOUGH if held else found.kind


def headline(rows: Sequence[Mapping[Any, Any]]) -> str:
    """What to act on: what to take within the least bound for which something is, or what is missing at the largest."""
    taken = [row["reason"] for row in rows if row["verdict"] in TAKE]
    lacking = [rows[-1][name] for name in ("reason", "needs") if not pd.isna(rows[-1][name])]
    return str(taken[0]) if taken else " ".join(lacking)


def _rows(judged: Judged) -> list[dict[str, Any]]:
    of, rules = judged.of, judged.rules
    spans = intervals(of.domain_change[:, 1:]), intervals(of.general_change[:, 1:])
    rows = []
    for bound, kind, found in judged.bounds:
        row: dict[str, Any] = dict.fromkeys(schemas.RECOMMENDATION.names)
        row |= {"model": of.model, "domain": of.domain, "bound": bound, "tolerance": rules.tolerance}
        row |= {"verdict": kind, "caveat": _caveat(of)}
        if _assumes(of, found):
            row["assumed_sd"] = of.assumed_sd
        if found.point is not None:
            row |= _about(of, found, spans)
        if row["verdict"] in (NOT_ENOUGH, SAFE):
            row |= _needs(judged, found, bound)
        rows.append(row | {"reason": _reason(of, found, row, rules)})
    return rows


def _needs(judged: Judged, found: Verdict, bound: float) -> dict[str, Any]:
    """What would make a recommendation of it."""
    of = judged.of
    wanted = needs.needs(of, found, bound, judged.rules)
    if wanted is None:
        return {"needs": "No recommendation is within reach of more items and seeds, if the estimates are right."}
    return {
        "needed_items": math.ceil(wanted.items * len(of.outcomes[of.primary[of.domain]])),
        "needed_general": wanted.general,
        "needed_seeds": wanted.seeds,
        "needs": needs.in_words(of, found, wanted, judged.updates) or None,
    }


def _about(of: Replicates, found: Verdict, spans: tuple[Any, Any]) -> dict[str, Any]:
    """What is known of the point of a verdict."""
    p = found.point
    assert p is not None
    at = found.rivals.index(p)
    row: dict[str, Any] = {"method": of.points[p].method, "learning_rate": of.points[p].learning_rate}
    for name, changes, span in zip(
        ("domain_change", "general_change"), (of.domain_change, of.general_change), spans, strict=True
    ):
        row |= {
            name: float(changes[0, p]),
            f"{name}_low": float(np.minimum(span.lower[p - 1], changes[0, p]).clip(-1)),
            f"{name}_high": float(np.maximum(span.upper[p - 1], changes[0, p]).clip(max=1)),
        }
    row |= {"gain_at_least": float(found.gain.lower[at]), "general_at_least": float(found.change.lower[at])}
    row["regret"] = found.regret
    if found.rival is not None:
        rival = of.points[found.rival]
        row |= {"rival": rival.method, "rival_rate": rival.learning_rate}
        row |= interval("lead", of.domain_score[:, p] - of.domain_score[:, found.rival])
    row["equivalent"] = ", ".join(map(of.name, found.equivalent)) or None
    return row


def _reason(of: Replicates, found: Verdict, row: Mapping[str, Any], rules: Rules) -> str:
    """A verdict as sentences."""
    within = f"within {_points(row['bound'])} of general loss"
    if found.kind == UNSHOWN:
        return "No data can show that nothing at all is lost; accept a loss, however small."
    if found.kind == NOTHING:
        return _why_nothing(of, found, within, rules)
    if found.kind == NOT_ENOUGH:
        return _doubts(of, found, row, within)
    assert found.point is not None
    assert found.regret is not None
    numbers = (
        f"{_signed(row['domain_change'])} on {of.domain} (95 %: {_signed(row['domain_change_low'])} to "
        f"{_signed(row['domain_change_high'])}), general {_signed(row['general_change'])} (at least "
        f"{_signed(row['general_at_least'])})"
    )
    told = f"{within.capitalize()} take {of.name(found.point)}: {numbers}; {_against_rivals(of, found, rules)}."
    if row["verdict"] == NOT_ENOUGH:
        return (
            f"{told.replace(' take ', ' one would take ', 1)} This assumes a standard deviation of {of.assumed_sd:g} "
            "between trainings, which no second seed has measured: give one method two seeds more."
        )
    return told


def _against_rivals(of: Replicates, found: Verdict, rules: Rules) -> str:
    """How it stands beside what else is within the bound."""
    if found.rival is None:
        return "no other run may be within the bound"
    if found.kind == BEST:
        return "every other run within the bound gains less"
    at_most = f"the best within the bound gains at most {_points(found.regret)} more"
    if found.kind == SAFE:
        return (
            f"{at_most} (it may be {of.name(found.rival)}), which is beyond the tolerance of {_points(rules.tolerance)}"
        )
    alike = ", ".join(map(of.name, found.equivalent))
    return f"{at_most}" + (f"; {alike} {'are' if len(found.equivalent) > 1 else 'is'} equivalent" if alike else "")


def _doubts(of: Replicates, found: Verdict, row: Mapping[str, Any], within: str) -> str:
    """What is missing for a verdict."""
    if found.point is None:
        return f"By the estimates no run gains {within}, but that none does is not shown."
    lacking = []
    if row["gain_at_least"] <= 0:
        lacking.append(
            f"its gain of {_points(row['domain_change'])} may be none (at least {_signed(row['gain_at_least'])})"
        )
    if row["general_at_least"] < -row["bound"]:
        lacking.append(f"its loss may be as much as {_points(-row['general_at_least'])}")
    return f"The best estimate {within} is {of.name(found.point)}, but {' and '.join(lacking)}."


def _why_nothing(of: Replicates, found: Verdict, within: str, rules: Rules) -> str:
    if not found.rivals:
        least = 1 + int(np.argmax(of.general_change[0, 1:]))
        return f"Every run loses more; the least is {of.name(least)} with {in_words(of.general_change[:, least])}."
    most = max(found.rivals, key=lambda p: of.domain_change[0, p])
    return (
        f"No run {within} gains more than the tolerance of {_points(rules.tolerance)} on {of.domain}; the most is "
        f"{of.name(most)} with {in_words(of.domain_change[:, most])}."
    )


def _caveat(of: Replicates) -> str | None:
    """What holds for every bound."""
    rates = sorted({of.points[p].learning_rate or 0.0 for p, is_so in enumerate(of.assumed) if is_so})
    if not rates:
        return None
    return (
        f"No method has a second seed at {', '.join(f'{rate:.0e}' for rate in rates)}: a standard deviation of "
        f"{of.assumed_sd:g} between trainings is assumed there, not measured."
    )


def _assumes(of: Replicates, found: Verdict) -> bool:
    """Whether a verdict hangs on a spread between trainings that is not measured."""
    return any(of.assumed[p] for p in found.rivals)


def _flops(of: Replicates, point: int, updates: Mapping[str, Mapping[str, Any]]) -> float:
    return sum(float(updates[run_id]["flops"]) for run_id in of.runs[point] if run_id in updates) / len(of.runs[point])


def _points(share: float | None) -> str:
    """A share of a score in points, such as `2 points`."""
    points = round(100 * (share or 0.0), 1)
    return f"{points:g} point{'' if points == 1 else 's'}"


def _signed(change: float) -> str:
    """A change in points."""
    return f"{100 * change:+z.1f}"
