"""The paper's advice (Lin et al. 2025, arXiv 2509.20758) as hypotheses on a study's own data.

A hypothesis is a number of differences that all have to be above 0. It is supported where the 95 % intervals of all of
them are, contradicted where one of them is below 0 with its whole interval, and open otherwise. Plain SFT and TALR are
the study's first methods of the recipes `sft` and `talr`. The paper's third advice, that domains whose responses are
bare labels tolerate larger rates, compares domains and is not tested here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.study import canonical_rate
from tradeoff.tables import schemas
from tradeoff.tables.pareto import hypervolumes
from tradeoff.tables.replicates import CLOSE, Array, Replicates, in_words, interval

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "open"
KEPT = 0.8  # share of the largest rate's gain that "most of it" means
SMALL_RATE, TALR_BALANCE = "small rate first", "TALR for a stronger balance"


def hypotheses(studied: Iterable[Replicates]) -> pd.DataFrame:
    """In the columns of `schemas.HYPOTHESES`; the estimate is the difference in general score."""
    rows = [row for of in studied for row in (_small_rate(of), _talr(of))]
    return pd.DataFrame(rows, columns=schemas.HYPOTHESES.names)


def verdict(differences: Iterable[Array]) -> str:
    """Of differences that all have to be above 0, each [1 + replicates]."""
    spans = [interval("at", difference) for difference in differences]
    if any(span["at_high"] < -CLOSE for span in spans):
        return CONTRADICTED
    return SUPPORTED if all(span["at_low"] > CLOSE for span in spans) else OPEN


def _small_rate(of: Replicates) -> dict[str, Any]:
    statement = (
        f"Plain SFT at the smallest rate keeps at least {KEPT:.0%} of the domain gain at the largest, and loses less "
        "general score."
    )
    sft = _first(of, "sft")
    if len(sft) < 2:
        return _row(of, SMALL_RATE, statement, {}, "the study has one learning rate" if sft else "the study has no sft")
    small, large = sft[0], sft[-1]
    gain, general = of.domain_change, of.general_change
    differences = {
        f"general score, {_rate(of, small)} over {_rate(of, large)}": general[:, small] - general[:, large],
        f"gain at {_rate(of, small)} over {KEPT:g} of that at {_rate(of, large)}, or over none where that is a loss": (
            gain[:, small] - KEPT * np.maximum(gain[:, large], 0.0)
        ),
    }
    return _row(of, SMALL_RATE, statement, differences, f"gains {gain[0, small]:+z.3f} and {gain[0, large]:+z.3f}")


def _talr(of: Replicates) -> dict[str, Any]:
    statement = (
        "At the largest rate TALR keeps more general score than plain SFT, and over all rates it reaches a greater "
        "hypervolume."
    )
    sft, talr = _first(of, "sft"), _first(of, "talr")
    if not sft or not talr:
        lacking = " and no ".join(name for name, points in (("sft", sft), ("talr", talr)) if not points)
        return _row(of, TALR_BALANCE, statement, {}, f"the study has no {lacking}")
    ours, theirs = talr[-1], sft[-1]
    differences = {
        f"general score, {of.name(ours)} over {of.name(theirs)}": (
            of.general_change[:, ours] - of.general_change[:, theirs]
        ),
        "hypervolume over all rates": hypervolumes(of, talr) - hypervolumes(of, sft),
    }
    gains = of.domain_change[0, ours], of.domain_change[0, theirs]
    return _row(of, TALR_BALANCE, statement, differences, f"gains {gains[0]:+z.3f} and {gains[1]:+z.3f}")


def _row(
    of: Replicates, hypothesis: str, statement: str, differences: Mapping[str, Array], remark: str
) -> dict[str, Any]:
    first = next(iter(differences.values()), None)
    unknown = dict.fromkeys(("estimate", "estimate_low", "estimate_high"))
    told = [f"{what}: {in_words(difference)}" for what, difference in differences.items()]
    if differences and of.one_seed:
        told.append("one seed: the spread between trainings is not in these intervals")
    if differences and of.few:
        told.append(f"intervals from {of.few} items are too narrow to rely on")
    return {
        "model": of.model,
        "domain": of.domain,
        "hypothesis": hypothesis,
        "statement": statement,
        "verdict": OPEN if first is None else verdict(differences.values()),
        **(unknown if first is None else interval("estimate", first)),
        "evidence": "; ".join([*told, remark]),
    }


def _first(of: Replicates, recipe: str) -> list[int]:
    """The points of the study's first method of a recipe by ascending rate; none where there is no such method."""
    return next((of.methods[name] for name in of.of_recipe(recipe)), [])


def _rate(of: Replicates, point: int) -> str:
    return canonical_rate(of.points[point].learning_rate)
