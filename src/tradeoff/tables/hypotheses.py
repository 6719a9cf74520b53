"""The paper's advice (Lin et al. 2025, arXiv 2509.20758) as hypotheses on a study's own data.

A hypothesis is a number of differences that all have to be above 0. It is supported where the 95 % intervals of all of
them are, contradicted where one of them is below 0 with its whole interval, and open otherwise. Each is tested on every
method of the recipes that it is about: an ablation has several. The paper's third advice, that domains whose responses
are bare labels tolerate larger rates, compares domains and is not tested here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    rows = []
    for of in studied:
        plain: Sequence[str | None] = of.of_recipe("sft") or [None]
        talr: Sequence[str | None] = of.of_recipe("talr") or [None]
        rows += [_small_rate(of, sft) for sft in plain]
        rows += [_talr(of, ours, sft) for sft in plain for ours in talr]
    return pd.DataFrame(rows, columns=schemas.HYPOTHESES.names)


def verdict(differences: Iterable[Array]) -> str:
    """Of differences that all have to be above 0, each [1 + replicates]."""
    spans = [interval("at", difference) for difference in differences]
    if any(span["at_high"] < -CLOSE for span in spans):
        return CONTRADICTED
    return SUPPORTED if all(span["at_low"] > CLOSE for span in spans) else OPEN


def _small_rate(of: Replicates, method: str | None) -> dict[str, Any]:
    statement = (
        f"{method or 'Plain SFT'} at the smallest rate keeps at least {KEPT:.0%} of the domain gain at the largest, "
        "and loses less general score."
    )
    about = (of, SMALL_RATE, statement, method, None)
    if method is None:
        return _row(*about, {}, "the study has no sft")
    points = of.methods[method]
    if len(points) < 2:
        return _row(*about, {}, "the study has one learning rate")
    small, large = points[0], points[-1]
    gain, general = of.domain_change, of.general_change
    differences = {
        f"general score, {_rate(of, small)} over {_rate(of, large)}": general[:, small] - general[:, large],
        f"gain at {_rate(of, small)} over {KEPT:g} of that at {_rate(of, large)}, or over none where that is a loss": (
            gain[:, small] - KEPT * np.maximum(gain[:, large], 0.0)
        ),
    }
    return _row(*about, differences, f"gains {gain[0, small]:+z.3f} and {gain[0, large]:+z.3f}")


def _talr(of: Replicates, talr: str | None, sft: str | None) -> dict[str, Any]:
    statement = (
        f"At the largest rate {talr or 'TALR'} keeps more general score than {sft or 'plain SFT'}, and over all rates "
        "it reaches a greater hypervolume."
    )
    about = (of, TALR_BALANCE, statement, talr, sft)
    if sft is None or talr is None:
        lacking = " and no ".join(recipe for recipe, name in (("sft", sft), ("talr", talr)) if name is None)
        return _row(*about, {}, f"the study has no {lacking}")
    ours, theirs = of.methods[talr][-1], of.methods[sft][-1]
    differences = {
        f"general score, {of.name(ours)} over {of.name(theirs)}": (
            of.general_change[:, ours] - of.general_change[:, theirs]
        ),
        "hypervolume over all rates": hypervolumes(of, of.methods[talr]) - hypervolumes(of, of.methods[sft]),
    }
    gains = of.domain_change[0, ours], of.domain_change[0, theirs]
    return _row(*about, differences, f"gains {gains[0]:+z.3f} and {gains[1]:+z.3f}")


def _row(
    of: Replicates,
    hypothesis: str,
    statement: str,
    method: str | None,
    against: str | None,
    differences: Mapping[str, Array],
    remark: str,
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
        "method": method,
        "against": against,
        "statement": statement,
        "verdict": OPEN if first is None else verdict(differences.values()),
        **(unknown if first is None else interval("estimate", first)),
        "evidence": "; ".join([*told, remark]),
    }


def _rate(of: Replicates, point: int) -> str:
    return canonical_rate(of.points[point].learning_rate)
