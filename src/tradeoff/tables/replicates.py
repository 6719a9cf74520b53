"""One bootstrap for all tables: what is computed from the scores is computed from every replicate by the same function.

A replicate draws each benchmark's items anew, the same for all models, methods and rates, so that their differences are
paired, and adds what other seeds would have made (`bootstrap`). An item is drawn whole: an IFEval prompt comes with all
its instructions, which are so clustered by prompt. Methods, levels and error rates: `docs/statistics.md`.

Row 0 of an array of replicates is the estimate itself, every item and seed once.

Intervals are 95 % percentile intervals: they need no formula for a ratio, a front or a hypervolume. Where no method has
a second seed at a learning rate, the standard deviation between trainings is not measured but assumed, for scores from
0 to 1; for numbers without bounds, such as nats, it is then in no interval. Of a single item those have no interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.errors import UserError
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, INVALID, Benchmark
from tradeoff.study import BASE, canonical_rate
from tradeoff.tables.bootstrap import SEED, Array, Spread, coins, draws, generator, item_draws, item_means, spread
from tradeoff.tables.scores import Score, by_class, general_mean
from tradeoff.tables.verdicts import CLOSE, ENDS

__all__ = ["CLOSE", "ENDS", "REPLICATES", "SEED", "Array", "Metric", "Point", "Replicates", "draws", "interval"]

REPLICATES = 2000
ASSUMED_SD = 0.02  # of a score from 0 to 1, between trainings, where no method has a second seed


class Point(NamedTuple):
    """A method at a learning rate, after a share of its training; the base has no rate."""

    method: str
    recipe: str
    learning_rate: float | None
    fraction: float = 1.0


class Metric(NamedTuple):
    """A metric of a benchmark, under one of its filters ("none" where it has none)."""

    benchmark: str
    name: str
    filter: str

    @classmethod
    def of(cls, benchmark: str, key: str) -> Metric:
        """From `metric` or `metric,filter`."""
        name, _, its_filter = key.partition(",")
        return cls(benchmark, name, its_filter or "none")


@dataclass(frozen=True)
class Replicates:
    """One base model on one domain: what every point scored, and would have scored on other items and seeds.

    Attributes:
        model: The base model's name.
        domain: The domain's name.
        points: The base first, then in the order of the samples.
        runs: Of each point, the ids of its runs in the order of their seeds.
        general: Names of the general benchmarks.
        scored: Those of the general score.
        scores: Of each metric, [1 + replicates, points].
        general_score: The mean of the primary metrics of the scored benchmarks with the study's weights,
            [1 + replicates, points].
        general_plain: The plain mean of all that score from 0 to 1, [1 + replicates, points].
        spreads: Of the domain's and of the general score, the variance between trainings at each point's learning
            rate; the base's is 0.
        item_scores: Of the domain's and of the general score, replicates in which items alone are drawn.
        assumed_sd: Between trainings, for scores from 0 to 1 at a rate at which no method has a second seed.
        outcomes: Of each metric, the means over seeds of every item that has it, [items, points].
        primary: Of each benchmark, the metric that stands for it.
        n_truncated: Of each point, answers that ended at the limit, over all items and seeds.
        n_invalid: Of each point, responses without an answer.
    """

    model: str
    domain: str
    points: tuple[Point, ...]
    runs: tuple[tuple[str, ...], ...]
    general: tuple[str, ...]
    scored: tuple[str, ...]
    scores: Mapping[Metric, Array]
    general_score: Array
    general_plain: Array
    spreads: tuple[tuple[Spread, ...], tuple[Spread, ...]]
    item_scores: tuple[Array, Array]
    assumed_sd: float
    outcomes: Mapping[Metric, Array]
    primary: Mapping[str, Metric]
    n_truncated: tuple[int, ...]
    n_invalid: tuple[int, ...]

    @property
    def domain_score(self) -> Array:
        """The domain's primary metric, [1 + replicates, points]."""
        return self.scores[self.primary[self.domain]]

    @property
    def domain_change(self) -> Array:
        """Against the base, [1 + replicates, points]."""
        return change(self.domain_score)

    @property
    def general_change(self) -> Array:
        """Against the base, [1 + replicates, points]."""
        return change(self.general_score)

    @property
    def item_changes(self) -> tuple[Array, Array]:
        """Domain and general change in replicates in which items alone are drawn, [1 + replicates, points] each."""
        return change(self.item_scores[0]), change(self.item_scores[1])

    @property
    def code_length(self) -> Array:
        """Of the domain's right responses, nats per token, [1 + replicates, points]."""
        return self.scores[Metric.of(self.domain, CODE_LENGTH)]

    @property
    def kl(self) -> Array | None:
        """To the base on its own text, nats per token, [1 + replicates, points]; None without `base_text`."""
        return self.scores[self.primary[BASE_TEXT]] if BASE_TEXT in self.primary else None

    @property
    def methods(self) -> dict[str, list[int]]:
        """The points of each method by ascending learning rate, the base left out."""
        order = sorted(range(1, len(self.points)), key=lambda p: self.points[p].learning_rate or 0.0)
        names = dict.fromkeys(point.method for point in self.points[1:])
        return {name: [p for p in order if self.points[p].method == name] for name in names}

    def of_recipe(self, recipe: str) -> list[str]:
        """Names of the methods of a recipe."""
        return list(dict.fromkeys(point.method for point in self.points if point.recipe == recipe))

    @property
    def assumed(self) -> list[bool]:
        """Of each point, whether the spread between trainings at its learning rate is assumed and not measured."""
        return [p > 0 and not spread.freedom for p, spread in enumerate(self.spreads[0])]

    def name(self, point: int) -> str:
        """A point in words, such as `talr at 2e-05`."""
        method, _, rate, _ = self.points[point]
        return method if rate is None else f"{method} at {canonical_rate(rate)}"

    def key(self, point: int) -> dict[str, Any]:
        """The columns of `schemas.POINT`."""
        method, recipe, rate, _ = self.points[point]
        return {"model": self.model, "domain": self.domain, "method": method, "recipe": recipe, "learning_rate": rate}


def change(scores: Array) -> Array:
    """Against the base, which is the first point."""
    return scores - scores[:, :1]


def interval(name: str, replicates: Array) -> dict[str, float]:
    """The estimate and its 95 % percentile interval, which always holds it, as three columns.

    Args:
        name: The first column's.
        replicates: Row 0 is the estimate. NaN in the others, where a number has no interval, gives NaN.
    """
    estimate = replicates[0]
    low, high = np.quantile(replicates[1:], ENDS)
    return {
        name: float(estimate),
        f"{name}_low": float(np.minimum(low, estimate)),
        f"{name}_high": float(np.maximum(high, estimate)),
    }


def in_words(replicates: Array) -> str:
    """An estimate of a difference with its interval, such as `+0.010, 95 % -0.020 to +0.040`."""
    estimate, low, high = interval("", replicates).values()
    return f"{estimate:+z.3f}, 95 % {low:+z.3f} to {high:+z.3f}"


def replicates(
    samples: pd.DataFrame,
    benchmarks: Mapping[str, Benchmark],
    scored: Mapping[str, Score],
    count: int = REPLICATES,
    assumed_sd: float = ASSUMED_SD,
    plain: Mapping[str, Sequence[str]] | None = None,
) -> list[Replicates]:
    """Every model and domain of a study.

    Args:
        samples: In the columns of `schemas.SAMPLES`; with a column `fraction` too, each fraction is a point of its own.
        benchmarks: All of the study, in its order.
        scored: For each domain, the benchmarks of the general score, with their weights where they differ.
        count: How many replicates.
        assumed_sd: Of a score from 0 to 1 between trainings, where no method has a second seed.
        plain: For each domain, all benchmarks that score from 0 to 1; the scored ones where it is not given.

    Raises:
        UserError: two models, or two seeds of one, were asked different items.
    """
    samples = samples.drop(columns=["prompt", "target", "response"], errors="ignore")
    if "fraction" not in samples:
        samples = samples.assign(fraction=1.0)
    found = []
    for model, of_model in samples.groupby("model", sort=False):
        base, runs = (of_model[is_base] for is_base in (of_model["method"] == BASE, of_model["method"] != BASE))
        for domain, of_domain in runs.groupby("domain", sort=False):
            names = [str(domain), *(name for name in benchmarks if name not in scored)]
            rows = pd.concat([side[side["benchmark"].isin(names)] for side in (base, of_domain)], ignore_index=True)
            used = {name: benchmarks[name] for name in names}
            score, every = scored[str(domain)], (plain or scored)[str(domain)]
            found.append(_replicates(str(model), rows, used, score, tuple(every), count, assumed_sd))
    return found


class Run(NamedTuple):
    """One model that was evaluated; the base has no seed."""

    point: Point
    run_id: str
    seed: int | None


class Measured(NamedTuple):
    """A metric of every run: values and, of each class, weights, [items, runs] each; one class where it has none.

    An item without the metric has the weight 0.
    """

    values: Array
    classes: Sequence[Array]
    bounded: bool


def _replicates(
    model: str,
    rows: pd.DataFrame,
    benchmarks: Mapping[str, Benchmark],
    scored: Score,
    plain: tuple[str, ...],
    count: int,
    assumed_sd: float,
) -> Replicates:
    domain, *general = benchmarks
    number_of_row, _ = pd.MultiIndex.from_frame(rows[["run_id", "fraction"]]).factorize()
    runs = [_run(row) for row in rows.iloc[np.unique(number_of_row, return_index=True)[1]].to_dict("records")]
    measured: dict[Metric, Measured] = {}
    for name, benchmark in benchmarks.items():
        of_name = (rows["benchmark"] == name).to_numpy()
        measured |= _measured(rows[of_name], number_of_row[of_name], runs, benchmark)
    primary = {name: Metric.of(name, benchmark.metrics[0]) for name, benchmark in benchmarks.items()}
    totals = rows[["truncated", "invalid"]].astype(int).groupby(number_of_row).sum().to_numpy()
    return of_runs(
        model,
        domain,
        tuple(general),
        scored,
        runs,
        measured,
        primary,
        totals,
        plain=plain,
        count=count,
        assumed_sd=assumed_sd,
    )


def of_runs(
    model: str,
    domain: str,
    general: tuple[str, ...],
    scored: Score,
    runs: Sequence[Run],
    measured: Mapping[Metric, Measured],
    primary: Mapping[str, Metric],
    totals: npt.NDArray[np.int_],
    *,
    plain: tuple[str, ...] = (),
    count: int = REPLICATES,
    assumed_sd: float = ASSUMED_SD,
) -> Replicates:
    """The replicates of one model on one domain from what its runs earned, the base first.

    Args:
        totals: Of each run, truncated and invalid answers, [runs, 2].
        The others: as in `Replicates` and `replicates`.
    """
    points = list(dict.fromkeys(run.point for run in runs))
    assert points[0].method == BASE, f"{model}: no base"
    of_point = [_by_seed(runs, point) for point in points]
    seeded = _Seeded(points, of_point, count, assumed_sd)
    scores, outcomes, main = {}, {}, {}
    for metric, (values, classes, bounded) in measured.items():
        drawn = item_draws(metric.benchmark, len(values), count)
        thrown = [coins(metric.benchmark, run.point, count) for run in runs] if bounded else []
        pseudo = (
            np.stack([(drawn[:, len(values) :] * coin).sum(axis=1) for coin in thrown], axis=1) if bounded else None
        )
        means = item_means(drawn, values, classes, pseudo)
        carry = np.any([(weights > 0).any(axis=1) for weights in classes], axis=0)
        if carry.sum() < 2 and not bounded:
            means[1:] = math.nan
        scores[metric], spreads = seeded.over(means, bounded, *metric)
        outcomes[metric] = np.stack([values[carry][:, at].mean(axis=1) for at in of_point], axis=1)
        if metric == primary[metric.benchmark]:
            main[metric.benchmark] = means, spreads
    parts = {name: means for name, (means, _) in main.items()}
    of_general = general_mean(parts, scored)
    general_score, general_spreads = seeded.over(of_general, True, "general")
    general_plain, _ = seeded.over(general_mean(parts, plain or tuple(scored)), True, "general")
    truncated, invalid = (tuple(int(totals[at, side].sum()) for at in of_point) for side in (0, 1))
    return Replicates(
        model,
        domain,
        tuple(points),
        tuple(tuple(runs[r].run_id for r in at) for at in of_point),
        general,
        tuple(scored),
        scores,
        general_score,
        general_plain,
        (main[domain][1], general_spreads),
        (seeded.mean(main[domain][0]), seeded.mean(of_general)),
        assumed_sd,
        outcomes,
        primary,
        truncated,
        invalid,
    )


@dataclass(frozen=True)
class _Seeded:
    """Points and their runs, one a seed."""

    points: Sequence[Point]
    of_point: Sequence[Sequence[int]]
    count: int
    assumed_sd: float

    def mean(self, means: Array) -> Array:
        """The points' means over their seeds, [1 + count, points]."""
        return np.stack([means[:, at].mean(axis=1) for at in self.of_point], axis=1)

    def over(self, means: Array, bounded: bool, *words: str) -> tuple[Array, tuple[Spread, ...]]:
        """The points' means over their seeds with the error of other seeds, [1 + count, points], and its variances.

        Args:
            means: Of every run, as of `item_means`.
            bounded: From 0 to 1.
            words: The metric's name.
        """
        found = self.mean(means)
        spreads = [Spread(0.0, 0.0, 0)] * len(self.points)
        assumed = self.assumed_sd**2 if bounded else 0.0
        alike = {(point.learning_rate, point.fraction) for point in self.points if point.method != BASE}
        for rate, fraction in alike:
            those = [
                p for p, point in enumerate(self.points) if (point.learning_rate, point.fraction) == (rate, fraction)
            ]
            of_rate = spread(means, [self.of_point[p] for p in those], assumed)
            variance = of_rate.drawn(self.count, *words, rate, fraction)
            for p in those:
                spreads[p] = of_rate
                error = generator("seed", *words, *self.points[p]).standard_normal(self.count)
                found[1:, p] += error * np.sqrt(variance / len(self.of_point[p]))
        return found.clip(0.0, 1.0) if bounded else found, tuple(spreads)


def _run(row: Mapping[Hashable, Any]) -> Run:
    rate, seed = (None if pd.isna(row[name]) else row[name] for name in ("learning_rate", "seed"))
    point = Point(row["method"], row["recipe"], None if rate is None else float(rate), float(row["fraction"]))
    return Run(point, row["run_id"], None if seed is None else int(seed))


def _by_seed(runs: Sequence[Run], point: Point) -> list[int]:
    return sorted((r for r, run in enumerate(runs) if run.point == point), key=lambda r: runs[r].seed or 0)


def _measured(
    rows: pd.DataFrame, number_of_row: npt.NDArray[np.intp], runs: Sequence[Run], benchmark: Benchmark
) -> dict[Metric, Measured]:
    """Every metric of a benchmark."""
    found = {}
    items = np.unique(rows["item"].to_numpy(str))
    at = np.searchsorted(items, rows["item"].to_numpy(str)), number_of_row
    asked = np.zeros((len(items), len(runs)), int)
    np.add.at(asked, at, 1)
    _check_asked_alike(asked == 1, runs, benchmark.name)
    values, weights, of_classes = (
        [dict(each) for each in rows[column]] for column in ("values", "weights", "class_weights")
    )
    keys = dict.fromkeys([*benchmark.metrics, *sorted({key for each in values for key in each})])
    for key in keys:
        if key.partition(",")[0] == INVALID:
            continue
        value = np.zeros(asked.shape)
        value[at] = [each.get(key, 0.0) for each in values]
        columns = by_class([each.get(key, 0.0) for each in weights], [dict(each.get(key, ())) for each in of_classes])
        classes = []
        for column in columns.T:
            weight = np.zeros(asked.shape)
            weight[at] = column
            classes.append(weight)
        has = np.zeros(asked.shape, bool)
        has[at] = [key in each for each in values]
        _check_asked_alike(has | ~has.any(axis=1, keepdims=True), runs, f"{benchmark.name}, {key}")
        metric = Metric.of(benchmark.name, key)
        found[metric] = Measured(value, classes, benchmark.bounded and metric.name != CODE_LENGTH)
    return found


def _check_asked_alike(asked: npt.NDArray[np.bool_], runs: Sequence[Run], what: str) -> None:
    """Refuses scores over different items.

    Raises:
        UserError: some run lacks an item, or has it twice.
    """
    if asked.all():
        return
    lacking = int(np.argmin(asked.all(axis=0)))
    run = runs[lacking]
    others = [r for r, other in enumerate(runs) if other.point == run.point]
    if (asked[:, others] != asked[:, [lacking]]).any():
        told = f"seeds of {run.point.method} were asked different items"
    else:
        other = next((r for r in range(len(runs)) if (asked[:, r] != asked[:, lacking]).any()), lacking)
        found = ", ".join(f"{runs[r].point.method} {asked[:, r].sum()}" for r in (lacking, other))
        told = f"models were asked different items ({found})"
    raise UserError(f"{what}: {told}; delete their samples and run again")
