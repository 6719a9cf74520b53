"""How often the tables are wrong: studies made from known truths, through the code that makes the tables.

`python -m tradeoff.tables.simulate` prints the operating characteristics; `docs/statistics.md` has them. Items are
correlated between models, as those of a benchmark are: an answer is right where a normal variable, of which a part
belongs to the item, a part to method and rate and a part to the training, is below the quantile of the model's true
score. A training's true score is its method's with a normal error, the same on all general benchmarks.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from tradeoff.study import BASE
from tradeoff.tables.bootstrap import Array
from tradeoff.tables.hypotheses import CONTRADICTED, hypotheses
from tradeoff.tables.pareto import front
from tradeoff.tables.recommendation import judge, recommendation
from tradeoff.tables.replicates import CLOSE, Measured, Metric, Point, Replicates, Run, interval, of_runs
from tradeoff.tables.verdicts import BEST, NOTHING, TAKE, Rules, lower_bounds

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
        of_sft: Seeds of plain SFT, where it has more.
        domain_items: Of the domain.
        general_items: Of each of the two general benchmarks.
        sd: True standard deviation between trainings.
        shared: Share of its variance that all methods at one rate and seed have in common.
        methods: Their names.
        rates: Their learning rates.
    """

    truth: Truth
    seeds: int = 3
    domain_items: int = 300
    general_items: int = 300
    sd: float = 0.02
    of_sft: int = 0
    shared: float = 0.0
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
    "at the limit": grid(lambda m, r: REACH[m] * GAINS[r], lambda m, r: 0.0501),
}


def study(setting: Setting, rng: np.random.Generator, count: int) -> Replicates:
    """One study of a kind."""
    points = setting.points
    seeds = {p: max(setting.seeds, setting.of_sft if p.method == "sft" else 0) for p in points[1:]}
    runs = [Run(points[0], BASE, None)]
    runs += [Run(p, f"{p.method}-{p.learning_rate}-{seed}", seed) for p in points[1:] for seed in range(seeds[p])]
    of_run = [points.index(run.point) for run in runs]
    own = [_errors(runs, setting, rng) for _ in range(2)]
    truths = {DOMAIN: setting.truth.domain[of_run] + own[0]}
    truths |= dict.fromkeys(GENERAL, setting.truth.general[of_run] + own[1])
    measured = {}
    for name, truth in truths.items():
        items = setting.domain_items if name == DOMAIN else setting.general_items
        values = outcomes(truth, of_run, items, rng)
        measured[PRIMARY[name]] = Measured(values, [np.ones_like(values)], True)
    totals = np.zeros((len(runs), 2), int)
    return of_runs("model", DOMAIN, GENERAL, GENERAL, runs, measured, PRIMARY, totals, count=count)


def _errors(runs: Sequence[Run], setting: Setting, rng: np.random.Generator) -> Array:
    """How much better each training is than its method at its rate; the base is itself."""
    alike = {key: rng.standard_normal() for key in dict.fromkeys((r.point.learning_rate, r.seed) for r in runs)}
    common = np.array([alike[run.point.learning_rate, run.seed] for run in runs])
    own = setting.shared**0.5 * common + (1 - setting.shared) ** 0.5 * rng.standard_normal(len(runs))
    return setting.sd * own * np.array([run.seed is not None for run in runs])


def outcomes(truth: Array, of_run: Sequence[int], items: int, rng: np.random.Generator) -> Array:
    """Right or wrong, [items, runs]."""
    normal = rng.standard_normal
    latent = OF_ITEM**0.5 * normal((items, 1)) + OF_POINT**0.5 * normal((items, max(of_run) + 1))[:, of_run]
    latent += OF_RUN**0.5 * normal((items, len(of_run)))
    return (latent < ndtri(truth.clip(0.0, 1.0))).astype(float)


# What is asked of one study: for each quantity, 1 or 0 (or a share of several), or NaN where it does not apply


def asked(of: Replicates, truth: Truth) -> dict[str, float]:
    """Whether each kind of call is wrong in one study, whether it answers, and whether intervals hold the truth."""
    rows = recommendation(judge([of], RULES)).to_dict("records")
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


# Single calls, of many independent studies


def few(values: Array, classes: Sequence[Array], rng: np.random.Generator, count: int) -> Replicates:
    """The replicates of a base and some runs, [items, 1 + runs], without an error of seeds; their coins are new."""
    points = [
        Point(BASE, BASE, None),
        *(Point(f"m{n}-{rng.integers(2**31)}", "sft", 1.0) for n in range(values.shape[1] - 1)),
    ]
    runs = [Run(point, point.method, 0) for point in points]
    measured = {PRIMARY[name]: Measured(values, classes, True) for name in (DOMAIN, "first")}
    totals = np.zeros((len(runs), 2), int)
    return of_runs("m", DOMAIN, ("first",), ("first",), runs, measured, PRIMARY, totals, count=count, assumed_sd=0.0)


def near_an_end(score: float, items: int, studies: int, rng: np.random.Generator, count: int) -> float:
    """How often the interval of a score holds the truth."""
    values = (rng.random((items, 1 + studies)) < score).astype(float)
    of = few(values, [np.ones_like(values)], rng, count)
    return float(np.mean([_holds(of.domain_score[:, p], score) for p in range(1, len(of.points))]))


def rarely_different(
    lost: float, gained: float, bound: float, items: int, studies: int, rng: np.random.Generator, count: int
) -> float:
    """How often one run is shown to lose no more than a bound, of which a share of answers is lost and one gained."""
    base = (rng.random(items) < 0.6).astype(float)
    flips = rng.random((items, studies))
    values = np.where(flips < lost, -1.0, np.where(flips < lost + gained, 1.0, 0.0))
    # An answer that is lost was right, and one that is gained was wrong: the base's answer on these follows.
    shown = []
    for column in values.T:
        right = np.where(column < 0, 1.0, np.where(column > 0, 0.0, base))
        both = np.stack([right, right + column], axis=1)
        of = few(both, [np.ones_like(both)], rng, count)
        shown.append(lower_bounds(of.domain_change[:, 1:]).lower[0] >= -bound)
    return float(np.mean(shown))


SHARES, RECALLS = (0.65, 0.22, 0.10, 0.03), (0.9, 0.6, 0.4, 0.3)


def by_classes(items: int, studies: int, rng: np.random.Generator, count: int) -> float:
    """How often the interval of balanced accuracy holds the truth; there are four classes, one of them rare."""
    held = []
    for _ in range(studies):
        labels = rng.choice(4, items, p=SHARES)
        values = (rng.random((items, 2)) < np.array(RECALLS)[labels][:, None]).astype(float)
        classes = [np.repeat((labels == c).astype(float)[:, None], 2, axis=1) for c in range(4) if (labels == c).any()]
        of = few(values, classes, rng, count)
        held.append(_holds(of.domain_score[:, 1], float(np.mean(RECALLS))))
    return float(np.mean(held))


def settings() -> Iterator[tuple[str, Setting]]:
    """The kinds of studies of the table, by name."""
    for name, truth in WORLDS.items():
        usual = Setting(truth)
        yield from ((name, replace(usual, domain_items=n, general_items=n)) for n in (60, 300, 1000))
        yield from (
            (name, replace(usual, seeds=n, sd=sd)) for n, sd in ((3, 0.0), (3, 0.04), (2, 0.02), (1, 0.02), (1, 0.04))
        )
        yield name, replace(usual, seeds=1, of_sft=3)
        yield name, replace(usual, shared=0.5)
    for name, scores in (("a tie", (0.5, 0.5)), ("a third as good", (0.5, 0.475, 0.4725))):
        truth = Truth(np.array([0.3, *scores]), np.full(1 + len(scores), 0.6))
        tie = Setting(truth, domain_items=400, general_items=400, methods=METHODS[: len(scores)], rates=RATES[:1])
        yield from ((name, replace(tie, seeds=n)) for n in (1, 3))
        yield name, replace(tie, domain_items=3000, general_items=3000)


COLUMNS = {
    "dominated false": "domin.",
    "verdict false": "verdict",
    "contradicts": "contra.",
    "holds change": "change",
    "holds pair": "pair",
    "holds chosen": "chosen",
    "answers at 2": "at 2",
    "answers at 5": "at 5",
    "recommends at 5": "recom.",
    "dominated found": "domin.",
}


def table(studies: int, count: int, seed: int = 0) -> Iterator[str]:
    """The operating characteristics, line by line."""
    yield f"{studies} studies a line, {count} replicates each; shares of studies, or of intervals that hold the truth"
    yield f"{'':<16}{'':>19}{'false calls':>24}{'intervals':>24}{'answers':>32}"
    yield f"{'truth':<16}{'items':>6}{'seeds':>7}{'s.d.':>6}" + "".join(f"{name:>8}" for name in COLUMNS.values())
    for name, setting in settings():
        rng = np.random.default_rng([seed, setting.seeds, setting.domain_items])
        found = pd.DataFrame([asked(study(setting, rng, count), setting.truth) for _ in range(studies)]).mean()
        if name not in ("all equal", "inert"):
            found["contradicts"] = np.nan  # there the hypotheses may be false
        seeds = f"{setting.seeds}" + (f"/{setting.of_sft}" if setting.of_sft else "") + ("*" if setting.shared else "")
        cells = "".join(f"{'-' if np.isnan(found[key]) else f'{found[key]:.3f}':>8}" for key in COLUMNS)
        yield f"{name:<16}{setting.domain_items:>6}{seeds:>7}{setting.sd:>6.2f}{cells}"
    yield "seeds 1/3: three of plain SFT, one of all others; *: half of the variance of seeds is common to all methods"
    yield from singles(5 * studies, count, seed)


def singles(studies: int, count: int, seed: int) -> Iterator[str]:
    """Calls and intervals that need no whole study."""
    rng = np.random.default_rng(seed)
    for score in (0.01, 0.03, 0.97):
        held = [f"{n}: {near_an_end(score, n, studies, rng, count):.3f}" for n in (10, 30, 60)]
        yield f"interval of a score of {score:g} holds it, by items: {', '.join(held)}"
    for lost, gained in ((0.035, 0.005), (0.06, 0.0399), (0.0201, 0.0)):
        called = [
            f"{n}: {rarely_different(lost, gained, 0.02, n, studies, rng, count):.3f}" for n in (30, 60, 100, 300)
        ]
        yield f"{lost:.2%} of answers lost, {gained:.2%} gained, called a loss of at most 0.02: {', '.join(called)}"
    held = [f"{n}: {by_classes(n, studies, rng, count):.3f}" for n in (60, 100, 300)]
    yield f"interval of balanced accuracy holds it, classes of 65, 22, 10 and 3 %: {', '.join(held)}"


def main() -> None:
    """`python -m tradeoff.tables.simulate`."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.tables.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--studies", type=int, default=200, help="studies of each kind")
    parser.add_argument("--replicates", type=int, default=500, help="of the bootstrap; the tables have 2,000")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    for line in table(a.studies, a.replicates, a.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
