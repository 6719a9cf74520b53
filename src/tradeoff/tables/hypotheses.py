"""The paper's advice (Lin et al. 2025, arXiv 2509.20758) as hypotheses on a study's own data.

A hypothesis is a number of differences that all have to be above 0. It is supported where the lower bounds of all of
them are, contradicted where the upper bound of one is below 0, and open otherwise; all differences of all hypotheses of
a model and domain are judged at once. Each is tested on every method of the recipes that it is about: an ablation has
several. The paper's third advice, that domains whose responses are bare labels tolerate larger rates, compares domains
and is not tested here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tradeoff.study import canonical_rate
from tradeoff.tables import schemas
from tradeoff.tables.pareto import hypervolumes
from tradeoff.tables.replicates import Array, Replicates, in_words, interval
from tradeoff.tables.verdicts import lower_bounds, upper_bounds

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "open"
KEPT = 0.8  # share of the largest rate's gain that "most of it" means
SMALL_RATE, TALR_BALANCE = "small rate first", "TALR for a stronger balance"


class _Tested(NamedTuple):
    """A hypothesis about some methods, as differences that have to be above 0, [1 + replicates] each, by name."""

    hypothesis: str
    statement: str
    method: str | None
    against: str | None
    differences: Mapping[str, Array]
    remark: str


def hypotheses(studied: Iterable[Replicates]) -> pd.DataFrame:
    """In the columns of `schemas.HYPOTHESES`; the estimate is the difference in general score."""
    rows = []
    for of in studied:
        plain: Sequence[str | None] = of.of_recipe("sft") or [None]
        talr: Sequence[str | None] = of.of_recipe("talr") or [None]
        tested = [_small_rate(of, sft) for sft in plain]
        tested += [_talr(of, ours, sft) for sft in plain for ours in talr]
        verdicts = judged([list(each.differences.values()) for each in tested])
        rows += [_row(of, each, found) for each, found in zip(tested, verdicts, strict=True)]
    return pd.DataFrame(rows, columns=schemas.HYPOTHESES.names)


def judged(tested: Sequence[Sequence[Array]]) -> list[str]:
    """The verdicts on hypotheses, each a number of differences that all have to be above 0, [1 + replicates] each."""
    every = [difference for differences in tested for difference in differences]
    if not every:
        return [OPEN] * len(tested)
    together = np.stack(every, axis=1)
    low, high = iter(lower_bounds(together).lower), iter(upper_bounds(together).upper)
    found = []
    for differences in tested:
        lows, highs = ([next(ends) for _ in differences] for ends in (low, high))
        if any(end < 0 for end in highs):
            found.append(CONTRADICTED)
        else:
            found.append(SUPPORTED if lows and all(end > 0 for end in lows) else OPEN)
    return found


def _small_rate(of: Replicates, method: str | None) -> _Tested:
    statement = (
        f"{method or 'Plain SFT'} at the smallest rate keeps at least {KEPT:.0%} of the domain gain at the largest, "
        "and loses less general score."
    )
    about = (SMALL_RATE, statement, method, None)
    if method is None:
        return _Tested(*about, {}, "the study has no sft")
    points = of.methods[method]
    if len(points) < 2:
        return _Tested(*about, {}, "the study has one learning rate")
    small, large = points[0], points[-1]
    gain, general = of.domain_change, of.general_change
    differences = {
        f"general score, {_rate(of, small)} over {_rate(of, large)}": general[:, small] - general[:, large],
        f"gain at {_rate(of, small)} over {KEPT:g} of that at {_rate(of, large)}": gain[:, small]
        - KEPT * gain[:, large],
        f"gain at {_rate(of, small)} over none": gain[:, small],
    }
    return _Tested(*about, differences, f"gains {gain[0, small]:+z.3f} and {gain[0, large]:+z.3f}")


def _talr(of: Replicates, talr: str | None, sft: str | None) -> _Tested:
    statement = (
        f"At the largest rate {talr or 'TALR'} keeps more general score than {sft or 'plain SFT'}, and over all rates "
        "it reaches a greater hypervolume."
    )
    about = (TALR_BALANCE, statement, talr, sft)
    if sft is None or talr is None:
        lacking = " and no ".join(recipe for recipe, name in (("sft", sft), ("talr", talr)) if name is None)
        return _Tested(*about, {}, f"the study has no {lacking}")
    ours, theirs = of.methods[talr][-1], of.methods[sft][-1]
    differences = {
        f"general score, {of.name(ours)} over {of.name(theirs)}": (
            of.general_change[:, ours] - of.general_change[:, theirs]
        ),
        "hypervolume over all rates": hypervolumes(of, of.methods[talr]) - hypervolumes(of, of.methods[sft]),
    }
    gains = of.domain_change[0, ours], of.domain_change[0, theirs]
    return _Tested(*about, differences, f"gains {gains[0]:+z.3f} and {gains[1]:+z.3f}")


def _row(of: Replicates, tested: _Tested, verdict: str) -> dict[str, Any]:
    first = next(iter(tested.differences.values()), None)
    unknown = dict.fromkeys(("estimate", "estimate_low", "estimate_high"))
    told = [f"{what}: {in_words(difference)}" for what, difference in tested.differences.items()]
    if tested.differences and any(of.assumed):
        told.append(f"a standard deviation of {of.assumed_sd:g} between trainings is assumed where no seed measures it")
    return {
        "model": of.model,
        "domain": of.domain,
        "hypothesis": tested.hypothesis,
        "method": tested.method,
        "against": tested.against,
        "statement": tested.statement,
        "verdict": verdict,
        **(unknown if first is None else interval("estimate", first)),
        "evidence": "; ".join([*told, tested.remark]),
    }


def _rate(of: Replicates, point: int) -> str:
    return canonical_rate(of.points[point].learning_rate)
