"""One bootstrap for all tables: what is computed from the scores is computed from every replicate by the same function.

A replicate draws each benchmark's items anew, with replacement: the same items for all models, methods and rates, so
that their differences are paired. Seeds are drawn in the same way, the same for all methods, since a seed is one order
of the data whatever the method; with one seed there is nothing to draw, and the spread between trainings is in no
interval. An item is drawn whole: an IFEval prompt comes with all its instructions, which are so clustered by prompt.

Row 0 of an array of replicates is the estimate itself, every item and seed once.

Intervals are 95 % percentile intervals: they stay inside a score's range and need no formula for a ratio, a front or a
hypervolume. Of few items they are too narrow, as every bootstrap is, by a factor of about sqrt((n - 1) / n); and of 10
items on which all models agree they have no width at all, although nothing was learnt of an eleventh. The same goes for
2 or 3 seeds. About a single item's spread nothing is known: each replicate of a score is then 0 or 1 by the throw of a
coin, of each model apart, which gives the widest interval that there is, and a number without bounds has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.errors import UserError
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, INVALID, Benchmark
from tradeoff.study import BASE, canonical_rate
from tradeoff.tables.scores import by_class

Array = npt.NDArray[np.float64]

REPLICATES = 2000
SEED = 20509
ENDS = (0.025, 0.975)
ENOUGH = 30  # items: a bootstrap of fewer is too narrow to conclude from
CLOSE = 1e-9  # numbers no further apart are equal: sums in another order differ in the last digits


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
    outcomes: Mapping[Metric, Array]
    primary: Mapping[str, Metric]
    n_truncated: tuple[int, ...]
    n_invalid: tuple[int, ...]

    @property
    def domain_score(self) -> Array:
        """The domain's primary metric, [1 + replicates, points]."""
        return self.scores[self.primary[self.domain]]

    @property
    def general_score(self) -> Array:
        """The plain mean of the primary metrics of the scored benchmarks, [1 + replicates, points]."""
        return np.mean([self.scores[self.primary[name]] for name in self.scored], axis=0)

    @property
    def domain_change(self) -> Array:
        """Against the base, [1 + replicates, points]."""
        return change(self.domain_score)

    @property
    def general_change(self) -> Array:
        """Against the base, [1 + replicates, points]."""
        return change(self.general_score)

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
    def one_seed(self) -> bool:
        """Nothing is known of the spread between trainings."""
        return max(map(len, self.runs[1:]), default=1) < 2

    @property
    def few(self) -> str:
        """The benchmarks with so few items that intervals say too much, in words; empty where there is none."""
        sizes = {name: len(self.outcomes[self.primary[name]]) for name in (self.domain, *self.scored)}
        return ", ".join(f"{size} of {name}" for name, size in sizes.items() if size < ENOUGH)

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
    scored: Mapping[str, Sequence[str]],
    count: int = REPLICATES,
) -> list[Replicates]:
    """Every model and domain of a study.

    Args:
        samples: In the columns of `schemas.SAMPLES`; with a column `fraction` too, each fraction is a point of its own.
        benchmarks: All of the study, in its order.
        scored: For each domain, the benchmarks of the general score.
        count: How many replicates.

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
            found.append(_replicates(str(model), rows, used, tuple(scored[str(domain)]), count))
    return found


class _Run(NamedTuple):
    point: Point
    run_id: str
    seed: int | None


def _replicates(
    model: str, rows: pd.DataFrame, benchmarks: Mapping[str, Benchmark], scored: tuple[str, ...], count: int
) -> Replicates:
    domain, *general = benchmarks
    number_of_row, _ = pd.MultiIndex.from_frame(rows[["run_id", "fraction"]]).factorize()
    runs = [_run(row) for row in rows.iloc[np.unique(number_of_row, return_index=True)[1]].to_dict("records")]
    points = list(dict.fromkeys(run.point for run in runs))  # the base's rows come first
    assert points[0].method == BASE, f"{model}: no base"
    of_point = [_by_seed(runs, point) for point in points]
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    drawn = draws("seeds", len(seeds), count)
    of_run = np.stack([np.ones(count + 1) if r.seed is None else drawn[:, seeds.index(r.seed)] for r in runs], axis=1)
    scores, outcomes = {}, {}
    for name, benchmark in benchmarks.items():
        of_name = (rows["benchmark"] == name).to_numpy()
        for metric, values, classes in _outcomes(rows[of_name], number_of_row[of_name], runs, benchmark):
            means = _means(draws(name, len(values), count), values, classes)
            found = np.stack([_over_seeds(means[:, at], of_run[:, at]) for at in of_point], axis=1)
            carry = np.any([(weights > 0).any(axis=1) for weights in classes], axis=0)
            if carry.sum() < 2:
                bounded = benchmark.bounded and metric.name != CODE_LENGTH
                found[1:] = np.stack([_coin(metric, p, count) for p in points], axis=1) if bounded else math.nan
            scores[metric] = found
            outcomes[metric] = np.stack([values[carry][:, at].mean(axis=1) for at in of_point], axis=1)
    totals = rows[["truncated", "invalid"]].astype(int).groupby(number_of_row).sum().to_numpy()
    truncated, invalid = (tuple(int(totals[at, side].sum()) for at in of_point) for side in (0, 1))
    return Replicates(
        model,
        domain,
        tuple(points),
        tuple(tuple(runs[r].run_id for r in at) for at in of_point),
        tuple(general),
        scored,
        scores,
        outcomes,
        {name: Metric.of(name, benchmark.metrics[0]) for name, benchmark in benchmarks.items()},
        truncated,
        invalid,
    )


def _run(row: Mapping[Hashable, Any]) -> _Run:
    rate, seed = (None if pd.isna(row[name]) else row[name] for name in ("learning_rate", "seed"))
    point = Point(row["method"], row["recipe"], None if rate is None else float(rate), float(row["fraction"]))
    return _Run(point, row["run_id"], None if seed is None else int(seed))


def _by_seed(runs: list[_Run], point: Point) -> list[int]:
    return sorted((r for r, run in enumerate(runs) if run.point == point), key=lambda r: runs[r].seed or 0)


def _outcomes(
    rows: pd.DataFrame, number_of_row: npt.NDArray[np.intp], runs: list[_Run], benchmark: Benchmark
) -> Iterable[tuple[Metric, Array, list[Array]]]:
    """Of each metric, values as [items, runs], and weights in the same form for each class, one where it has none.

    An item without the metric has the weight 0.
    """
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
        yield Metric.of(benchmark.name, key), value, classes


def _check_asked_alike(asked: npt.NDArray[np.bool_], runs: list[_Run], what: str) -> None:
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


def draws(what: str, n: int, count: int) -> Array:
    """How often each of n things is drawn, [1 + count, n]; the first row has everything once.

    The draws hang on the name and the number of the things alone, so that all tables draw the same items.
    """
    drawn = np.random.default_rng([SEED, crc32(what.encode())]).integers(0, n, (count, n))
    numbered = (drawn + n * np.arange(count)[:, None]).ravel()
    return np.vstack([np.ones((1, n)), np.bincount(numbered, minlength=count * n).reshape(count, n)])


def _means(counts: Array, values: Array, classes: Sequence[Array]) -> Array:
    """Means of every run, [1 + replicates, runs]; where no weight was drawn, the estimate stands.

    A mean over classes is taken over those that occur in a replicate, each weighted by its own items there.
    """
    summed, occur = np.zeros((len(counts), values.shape[1])), np.zeros((len(counts), values.shape[1]))
    for weights in classes:
        total = _product(counts, weights)
        summed += np.divide(_product(counts, weights * values), total, out=np.zeros_like(total), where=total > 0)
        occur += total > 0
    means = np.divide(summed, occur, out=np.full_like(summed, math.nan), where=occur > 0)
    return np.where(occur > 0, means, means[0])


def _product(counts: Array, columns: Array) -> Array:
    """counts @ columns, where equal columns give equal results to the last bit, wherever they stand.

    Models that answer alike then differ by 0 exactly, and the order of the samples decides nothing.
    """
    each = [column.tobytes() for column in np.ascontiguousarray(columns.T)]
    unique = {column: number for number, column in enumerate(sorted(set(each)))}
    distinct = np.frombuffer(b"".join(unique)).reshape(len(unique), -1)
    return (counts @ distinct.T)[:, [unique[column] for column in each]]


def _over_seeds(means: Array, drawn: Array) -> Array:
    """A point's mean over the seeds that a replicate drew, [1 + count]; over all its seeds where it drew none."""
    drawn = np.where(drawn.sum(axis=1, keepdims=True) > 0, drawn, 1.0)
    return (drawn * means).sum(axis=1) / drawn.sum(axis=1)


def _coin(metric: Metric, point: Point, count: int) -> Array:
    words = [*metric, point.method, str(point.learning_rate), str(point.fraction)]
    return np.random.default_rng([SEED, crc32(",".join(words).encode())]).integers(0, 2, count).astype(float)
