"""How often the tables are wrong: studies made from known truths, through the code that makes the tables.

`python -m tradeoff.tables.simulate` prints the operating characteristics; `docs/statistics.md` has them. Items are
correlated between models, as those of a benchmark are: an answer is right where a normal variable, of which a part
belongs to the item, a part to method and rate and a part to the training, is below the quantile of the model's true
score. A training's true score is its method's with a normal error, the same on all general benchmarks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from tradeoff.study import BASE
from tradeoff.tables.bootstrap import Array
from tradeoff.tables.hypotheses import CONTRADICTED, hypotheses
from tradeoff.tables.pareto import front
from tradeoff.tables.recommendation import recommendation
from tradeoff.tables.replicates import CLOSE, Measured, Metric, Point, Replicates, Run, interval, of_runs
from tradeoff.tables.verdicts import BEST, NOTHING, TAKE, Rules

DOMAIN, GENERAL = "domain", ("first", "second")
PRIMARY = {name: Metric(name, "accuracy", "none") for name in (DOMAIN, *GENERAL)}
METHODS = ("sft", "l2", "lora", "average", "flow", "talr")
RATES = (1e-6, 5e-6, 2e-5)
OF_ITEM, OF_POINT, OF_RUN = 0.7, 0.15, 0.15  # shares of variance
RULES = Rules(one_seed=True)  # so that the error under the assumption is seen


class Truth(NamedTuple):
    """What every point would score on all items and seeds, [points]; the base first."""

    domain: Array
    general: Array


@dataclass(frozen=True)
class Setting:
    """A kind of study.

    Attributes:
        truth: What its points score.
        seeds: Of each method at each rate.
        domain_items: Of the domain.
        general_items: Of each of the two general benchmarks.
        sd: True standard deviation between trainings.
        methods: Their names.
        rates: Their learning rates.
    """

    truth: Truth
    seeds: int = 3
    domain_items: int = 300
    general_items: int = 300
    sd: float = 0.02
    methods: Sequence[str] = METHODS
    rates: Sequence[float] = RATES

    @property
    def points(self) -> list[Point]:
        """The base, and every method at every rate."""
        grid = itertools.product(self.methods, self.rates)
        return [Point(BASE, BASE, None), *(Point(name, name, rate) for name, rate in grid)]


def grid(gain: Callable[[int, int], float], loss: Callable[[int, int], float]) -> Truth:
    """A base of 0.3 and 0.6, and for each method and rate, by their numbers, what it gains and loses."""
    places = list(itertools.product(range(len(METHODS)), range(len(RATES))))
    return Truth(
        np.array([0.3, *(0.3 + gain(*place) for place in places)]),
        np.array([0.6, *(0.6 - loss(*place) for place in places)]),
    )


REACH, FORGETS = (1.0, 0.97, 0.7, 0.6, 0.95, 0.98), (1.0, 0.8, 0.6, 0.35, 0.5, 0.25)  # of SFT's
GAINS, LOSSES = (0.12, 0.2, 0.24), (0.0, 0.01, 0.08)  # SFT's at each rate
WORLDS = {
    "all equal": grid(lambda method, rate: 0.2, lambda method, rate: 0.0),
    "inert": grid(lambda method, rate: 0.0, lambda method, rate: 0.0),
    "different": grid(lambda m, r: REACH[m] * GAINS[r], lambda m, r: FORGETS[m] * LOSSES[r]),
    "lose 3 points": grid(lambda m, r: REACH[m] * GAINS[r], lambda m, r: 0.03),
}


def study(setting: Setting, rng: np.random.Generator, count: int) -> Replicates:
    """One study of a kind."""
    points = setting.points
    runs = [Run(points[0], BASE, None)]
    runs += [Run(p, f"{p.method}-{p.learning_rate}-{seed}", seed) for p in points[1:] for seed in range(setting.seeds)]
    of_run = [points.index(run.point) for run in runs]
    own = [rng.normal(0, setting.sd, len(runs)) * (np.array(of_run) > 0) for _ in range(2)]
    truths = {DOMAIN: setting.truth.domain[of_run] + own[0]}
    truths |= dict.fromkeys(GENERAL, setting.truth.general[of_run] + own[1])
    measured = {}
    for name, truth in truths.items():
        items = setting.domain_items if name == DOMAIN else setting.general_items
        values = outcomes(truth, of_run, items, rng)
        measured[PRIMARY[name]] = Measured(values, [np.ones_like(values)], True)
    totals = np.zeros((len(runs), 2), int)
    return of_runs("model", DOMAIN, GENERAL, GENERAL, runs, measured, PRIMARY, totals, count=count)


def outcomes(truth: Array, of_run: Sequence[int], items: int, rng: np.random.Generator) -> Array:
    """Right or wrong, [items, runs]."""
    normal = rng.standard_normal
    latent = OF_ITEM**0.5 * normal((items, 1)) + OF_POINT**0.5 * normal((items, max(of_run) + 1))[:, of_run]
    latent += OF_RUN**0.5 * normal((items, len(of_run)))
    return (latent < ndtri(truth.clip(0.0, 1.0))).astype(float)


# What is asked of one study: for each quantity, 1 or 0 (or a share of several), or NaN where it does not apply


def asked(of: Replicates, truth: Truth) -> dict[str, float]:
    """Whether each kind of call is wrong in one study, whether it answers, and whether intervals hold the truth."""
    rows = recommendation([of], RULES).to_dict("records")
    kinds = {row["bound"]: row["verdict"] for row in rows}
    chosen = [held for row in rows[::-1] if (held := _chosen(of, row, truth)) is not None]
    points = range(1, len(of.points))
    sides = (of.domain_change, truth.domain - truth.domain[0]), (of.general_change, truth.general - truth.general[0])
    pairs = [(p, q) for p in points for q in points[: p - 1]][::7]  # some are enough
    return {
        **_dominated(of, truth),
        "verdict false": float(any(_wrong(of, row, truth) for row in rows)),
        "answers at 2": float(kinds[0.02] in (*TAKE, NOTHING)),
        "answers at 5": float(kinds[0.05] in (*TAKE, NOTHING)),
        "recommends at 5": float(kinds[0.05] in TAKE[:2]),
        "contradicts": float(CONTRADICTED in set(hypotheses([of])["verdict"])),
        "holds change": float(np.mean([_holds(side[:, p], true[p]) for side, true in sides for p in points])),
        "holds pair": float(
            np.mean([_holds(side[:, p] - side[:, q], true[p] - true[q]) for side, true in sides for p, q in pairs])
        ),
        "holds chosen": chosen[0] if chosen else np.nan,
    }


def _dominated(of: Replicates, truth: Truth) -> dict[str, float]:
    """Whether a point is called dominated by one that is not better on both sides, and how many are that are."""
    false, found = [], []
    for p, row in enumerate(front([of]).to_dict("records")):
        over = (truth.domain > truth.domain[p] + CLOSE) & (truth.general > truth.general[p] + CLOSE)
        by = _find(of, row["dominated_by"], row["dominated_by_rate"])
        false.append(by is not None and not over[by])
        found += [by is not None] if over.any() else []
    return {"dominated false": float(any(false)), "dominated found": float(np.mean(found)) if found else np.nan}


def _same(point: Point, method: Any, rate: Any) -> bool:
    return bool(point.method == method) and (
        point.learning_rate == rate or (point.learning_rate is None and pd.isna(rate))
    )


def _find(of: Replicates, method: Any, rate: Any) -> int | None:
    return next((p for p, point in enumerate(of.points) if _same(point, method, rate)), None)


def _wrong(of: Replicates, row: Mapping[Any, Any], truth: Truth) -> bool:
    """Whether a row of `recommendation.parquet` says something false."""
    gain, change = truth.domain - truth.domain[0], truth.general - truth.general[0]
    within = [p for p in range(1, len(gain)) if change[p] >= -row["bound"] - CLOSE]
    if row["verdict"] == NOTHING:
        return any(gain[p] > row["tolerance"] + CLOSE for p in within)
    if row["verdict"] not in TAKE:
        return False
    p = _find(of, row["method"], row["learning_rate"])
    assert p is not None
    if p not in within or gain[p] <= 0:
        return True
    better = max((gain[q] - gain[p] for q in within if q != p), default=-1.0)
    return bool(better > row["regret"] + CLOSE or (row["verdict"] == BEST and better > -CLOSE))


def _holds(replicates: Array, truth: float) -> bool:
    _, low, high = interval("", replicates).values()
    return bool(low - CLOSE <= truth <= high + CLOSE)


def _chosen(of: Replicates, row: Mapping[Any, Any], truth: Truth) -> float | None:
    """Whether the general interval of what a row offers or names holds the truth; None where it names nothing."""
    p = _find(of, row["method"], row["learning_rate"])
    if p is None:
        return None
    change = truth.general[p] - truth.general[0]
    return float(row["general_change_low"] - CLOSE <= change <= row["general_change_high"] + CLOSE)
