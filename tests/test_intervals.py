"""Intervals by brute force: the numbers of the tables and their bounds again, from items and each metric's definition.

A replicate is written out, item by item and pseudo-item by pseudo-item, and every metric is computed from that in plain
loops, the error of few seeds too. The draws are those of `bootstrap`, or on very few items all that there are.
"""

import itertools
import math
import random

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from test_statistics import COST

from tradeoff.domains import Metric as DomainMetric
from tradeoff.domains import Outcome
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, Benchmark
from tradeoff.evaluation.weights import class_weights
from tradeoff.study import BASE
from tradeoff.tables.bootstrap import PSEUDO, coins, draws, generator
from tradeoff.tables.comparisons import comparisons
from tradeoff.tables.pareto import front, hypervolume
from tradeoff.tables.replicates import ASSUMED_SD, Point, replicates
from tradeoff.tables.tradeoff import tradeoff

CLASS_METRICS = (
    DomainMetric("balanced_accuracy", balanced_by="label"),
    DomainMetric("accuracy"),
    DomainMetric("macro_f1", f1_of="label"),
)
DOMAIN, SUITE, FOLLOWS = "labels", "suite", "follows"
BENCHMARKS = {
    DOMAIN: Benchmark(DOMAIN, "1", (*(m.name for m in CLASS_METRICS), CODE_LENGTH)),
    SUITE: Benchmark(SUITE, "1", ("exact_match",)),
    FOLLOWS: Benchmark(FOLLOWS, "1", ("inst_acc",)),
    BASE_TEXT: Benchmark(BASE_TEXT, "1", ("kl", CODE_LENGTH), bounded=False),
}
SCORED = {DOMAIN: [SUITE, FOLLOWS]}
COUNT = 200


# Metrics by their definitions, of a list of items


def accuracy(items):
    return sum(i["right"] == i["named"] for i in items) / len(items)


def balanced_accuracy(items):
    """The mean over the classes that there are of the share of each class's items that are called so."""
    classes = {i["right"] for i in items}
    return sum(accuracy([i for i in items if i["right"] == c]) for c in classes) / len(classes)


def macro_f1(items):
    """The mean over the classes that there are or that are named; no answer is no class."""
    classes = {i[side] for i in items for side in ("right", "named")} - {None}
    found = 0.0
    for c in classes:
        both = sum(i["right"] == c and i["named"] == c for i in items)
        either = sum((i["right"] == c) + (i["named"] == c) for i in items)
        found += 2 * both / either
    return found / len(classes)


def ratio(key):
    """Nats per token: all nats over all tokens."""
    return lambda items: sum(sum(i[key]) for i in items) / sum(len(i[key]) for i in items)


def exact_match(items):
    return sum(i["exact"] for i in items) / len(items)


def followed(items):
    """Of all instructions of all prompts."""
    verdicts = [v for i in items for v in i["verdicts"]]
    return sum(verdicts) / len(verdicts)


def share_right(items):
    """Of the items of a category; None where none was drawn."""
    of = [i["right"] == i["named"] for i in items if i["lab"]]
    return sum(of) / len(of) if of else None


METRICS = {
    (DOMAIN, "balanced_accuracy"): balanced_accuracy,
    (DOMAIN, "accuracy"): accuracy,
    (DOMAIN, "macro_f1"): macro_f1,
    (DOMAIN, CODE_LENGTH): ratio("nll"),
    (DOMAIN, "accuracy_lab"): share_right,
    (SUITE, "exact_match"): exact_match,
    (FOLLOWS, "inst_acc"): followed,
    (BASE_TEXT, "kl"): ratio("kl"),
}


# A study: items of each benchmark for each run


def answers(rng, asked, skill):
    """What one run earned on each item, by benchmark."""
    return {
        DOMAIN: [
            {
                "right": label,
                "lab": lab,
                "named": label if rng.random() < skill else rng.choice(["E", "S", "C", None]),
                "nll": [rng.expovariate(0.5 + skill) for _ in range(tokens)],
            }
            for label, lab, tokens, _ in asked[DOMAIN]
        ],
        SUITE: [{"exact": float(rng.random() < skill)} for _ in asked[SUITE]],
        FOLLOWS: [{"verdicts": [float(rng.random() < skill) for _ in range(n)]} for *_, n in asked[FOLLOWS]],
        BASE_TEXT: [{"kl": [rng.gauss(skill, 1.0) for _ in range(tokens)]} for _, _, tokens, _ in asked[BASE_TEXT]],
    }


def made(seed, methods=("sft", "talr"), rates=(1.0, 2.0), seeds=(0, 1, 2), sizes=(9, 7, 6, 5)):
    """Runs as {(method, rate, seed): answers}; the base has no rate and no seed."""
    rng = random.Random(seed)
    asked = {
        name: [(rng.choice("EEESC"), n < 3, rng.randint(1, 5), rng.randint(1, 3)) for n in range(size)]
        for name, size in zip(BENCHMARKS, sizes, strict=True)
    }
    runs = {(BASE, None, None): answers(rng, asked, 0.3)}
    for key in itertools.product(methods, rates, seeds):
        runs[key] = answers(rng, asked, rng.choice([0.3, 0.5, 0.8]))
    return runs


def values_of(name, item):
    """A sample's values and weights, as evaluation writes them."""
    if name == DOMAIN:
        right = float(item["right"] == item["named"])
        values = {m.name: right for m in CLASS_METRICS} | {CODE_LENGTH: sum(item["nll"]) / len(item["nll"])}
        values |= {"accuracy_lab": right} if item["lab"] else {}
        return values, {CODE_LENGTH: float(len(item["nll"]))}
    if name == SUITE:
        return {"exact_match": item["exact"]}, {}
    if name == FOLLOWS:
        return {"inst_acc": sum(item["verdicts"]) / len(item["verdicts"])}, {"inst_acc": float(len(item["verdicts"]))}
    return {"kl": sum(item["kl"]) / len(item["kl"])}, {"kl": float(len(item["kl"]))}


def classes_of(name, items):
    """Of each item, its weights in the classes of the metrics over classes."""
    if name != DOMAIN:
        return [{}] * len(items)
    outcomes = [Outcome({}, label=i["named"]) for i in items]
    return class_weights(CLASS_METRICS, [{"label": i["right"]} for i in items], outcomes)


def samples(runs):
    rows = []
    for (method, rate, seed), of in runs.items():
        for name, items in of.items():
            classes = classes_of(name, items)
            for number, item in enumerate(items):
                values, weights = values_of(name, item)
                rows.append(
                    {
                        "run_id": f"{method}-{rate}-{seed}",
                        "model": "tiny",
                        "domain": None if method == BASE else DOMAIN,
                        "method": method,
                        "recipe": method,
                        "learning_rate": rate,
                        "seed": seed,
                        "benchmark": name,
                        "item": f"{name}-{number:03}",
                        "truncated": False,
                        "invalid": False,
                        "values": list(values.items()),
                        "weights": [(key, weights.get(key, 1.0)) for key in values],
                        "class_weights": [(metric, list(c.items())) for metric, c in classes[number].items()],
                    }
                )
    return pd.DataFrame(rows).astype({"learning_rate": "Float64", "seed": "Int32"})


def studied(runs, count=COUNT, assumed_sd=ASSUMED_SD):
    (of,) = replicates(samples(runs), BENCHMARKS, SCORED, count, assumed_sd)
    return of


# The same by brute force


def weighed(benchmark, metric, items):
    """Of each item its value and its weight in each class, one class for most metrics; no weight without the metric."""
    found = []
    for item, classes in zip(items, classes_of(benchmark, items), strict=True):
        values, weights = values_of(benchmark, item)
        own = classes.get(metric, {"all": weights.get(metric, 1.0)} if metric in values else {})
        found.append((values.get(metric, 0.0), own))
    return found


def mean_of(of_items, drawn, tosses):
    """The mean over classes of weighted means over drawn items; None where no weight was drawn.

    A toss is what a pseudo-item earns that was drawn; it weighs in each class what an item with the metric weighs there
    on average.
    """
    carry = sum(any(w > 0 for w in weights.values()) for _, weights in of_items)
    means = []
    for c in {c for _, weights in of_items for c in weights}:
        average = sum(weights.get(c, 0.0) for _, weights in of_items) / carry
        parts = [(of_items[i][1].get(c, 0.0), of_items[i][0]) for i in drawn] + [(average, toss) for toss in tosses]
        if total := sum(weight for weight, _ in parts):
            means.append(sum(weight * value for weight, value in parts) / total)
    return sum(means) / len(means) if means else None


def point_of(key):
    method, rate = key
    return Point(method, method, rate)


def run_slowly(runs, key, benchmark, metric, count):
    """A metric of one run in every replicate, the estimate first."""
    of_items = weighed(benchmark, metric, runs[key][benchmark])
    bounded = benchmark != BASE_TEXT and metric != CODE_LENGTH
    tossed = coins(benchmark, point_of(key[:2]), count)
    estimate = mean_of(of_items, range(len(of_items)), [])
    found = [estimate]
    for row, toss in zip(draws(benchmark, len(of_items) + PSEUDO, count)[1:], tossed[1:], strict=True):
        drawn = [i for i, times in enumerate(row[:-PSEUDO]) for _ in range(int(times))]
        tosses = [toss[k] for k in range(PSEUDO) for _ in range(int(row[k - PSEUDO]))] if bounded else []
        mean = mean_of(of_items, drawn, tosses)
        found.append(estimate if mean is None else mean)
    return found


def variance(numbers):
    mean = sum(numbers) / len(numbers)
    return sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1)


def over_seeds_slowly(of_runs, point, bounded, words, count):
    """The mean over a point's seeds, with the error that other seeds would make.

    `of_runs` has the replicates of every run.
    """
    mean = [sum(column) / len(column) for column in zip(*(of_runs[k] for k in of_runs if k[:2] == point), strict=True)]
    if point[0] == BASE:
        return mean
    at_rate = {}
    for method, rate, seed in of_runs:
        if rate == point[1]:
            at_rate.setdefault(method, []).append(of_runs[method, rate, seed])
    several = [of_method for of_method in at_rate.values() if len(of_method) > 1]
    freedom = sum(len(of_method) - 1 for of_method in several)
    spread = [ASSUMED_SD**2 if bounded else 0.0] * count
    if freedom:
        square = sum(variance([r[0] for r in m]) * (len(m) - 1) for m in several) / freedom
        moved = [sum(variance([r[n] - r[0] for r in m]) for n in range(1, count + 1)) / count for m in several]
        items = sum(v * (len(m) - 1) for v, m in zip(moved, several, strict=True)) / freedom
        chi = generator("spread", *words, point[1], 1.0).chisquare(freedom, count)
        spread = [max(0.0, square * freedom / x - items) for x in chi]
    normal = generator("seed", *words, *point_of(point)).standard_normal(count)
    seeds = sum(k[:2] == point for k in of_runs)
    noisy = [m + z * math.sqrt(v / seeds) for m, z, v in zip(mean[1:], normal, spread, strict=True)]
    return [mean[0], *([min(1.0, max(0.0, x)) for x in noisy] if bounded else noisy)]


def scores_slowly(runs, point, benchmark, metric, count):
    """A metric of a point in every replicate."""
    of_runs = {key: run_slowly(runs, key, benchmark, metric, count) for key in runs}
    bounded = benchmark != BASE_TEXT and metric != CODE_LENGTH
    return over_seeds_slowly(of_runs, point, bounded, (benchmark, metric, "none"), count)


def general_slowly(runs, point, count):
    """The mean of both benchmarks run by run, and then over seeds."""
    of_runs = {}
    for key in runs:
        parts = run_slowly(runs, key, SUITE, "exact_match", count), run_slowly(runs, key, FOLLOWS, "inst_acc", count)
        of_runs[key] = [sum(pair) / 2 for pair in zip(*parts, strict=True)]
    return over_seeds_slowly(of_runs, point, True, ("general",), count)


def less(ours, theirs):
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def interval_slowly(found):
    """The first, and the 2.5 and 97.5 % of the others, between neighbours in proportion; the first is never outside."""
    estimate, others = found[0], sorted(found[1:])

    def quantile(share):
        place = share * (len(others) - 1)
        below = math.floor(place)
        above = min(below + 1, len(others) - 1)
        return others[below] + (place - below) * (others[above] - others[below])

    return estimate, min(quantile(0.025), estimate), max(quantile(0.975), estimate)


def bounds(row, name):
    return tuple(row[f"{name}{end}"] for end in ("", "_low", "_high"))


def test_the_definitions_are_scikit_learns():
    (items,) = (of[DOMAIN] for of in made(3, methods=(), sizes=(60, 1, 1, 1)).values())
    right, named = [i["right"] for i in items], [i["named"] or "-" for i in items]
    assert accuracy(items) == pytest.approx(accuracy_score(right, named))
    with pytest.warns(UserWarning, match="classes not in y_true"):
        assert balanced_accuracy(items) == pytest.approx(balanced_accuracy_score(right, named))
    assert macro_f1(items) == pytest.approx(f1_score(right, named, labels=list("ESC"), average="macro"))


POINTS = [(BASE, None), ("sft", 1.0), ("sft", 2.0), ("talr", 1.0), ("talr", 2.0)]


@pytest.mark.parametrize(("seed", "seeds"), [(0, (0, 1, 2)), (1, (0,)), (2, (3, 5))])
def test_every_interval_of_the_trade_off_is_that_of_the_written_out_replicates(seed, seeds):
    runs = made(seed, seeds=seeds)
    of = studied(runs)
    table = tradeoff([of], {run_id: COST for ids in of.runs for run_id in ids})
    assert [(p.method, p.learning_rate) for p in of.points] == POINTS
    of_base = {}
    for (_, row), point in zip(table.iterrows(), POINTS, strict=True):
        columns = {
            "domain_score": scores_slowly(runs, point, DOMAIN, "balanced_accuracy", COUNT),
            "general_score": general_slowly(runs, point, COUNT),
            SUITE: scores_slowly(runs, point, SUITE, "exact_match", COUNT),
            FOLLOWS: scores_slowly(runs, point, FOLLOWS, "inst_acc", COUNT),
            BASE_TEXT: scores_slowly(runs, point, BASE_TEXT, "kl", COUNT),
            f"domain_{CODE_LENGTH}": scores_slowly(runs, point, DOMAIN, CODE_LENGTH, COUNT),
        }
        of_base = of_base or columns
        for name, found in columns.items():
            assert bounds(row, name) == pytest.approx(interval_slowly(found)), (point, name)
            changed = interval_slowly(less(found, of_base[name]))
            assert bounds(row, f"{name.removesuffix('_score')}_change") == pytest.approx(changed), (point, name)


def test_every_interval_of_a_comparison_is_that_of_the_paired_replicates():
    """All metrics, of which one is of some items alone; against the base, and against SFT at the same rate."""
    runs = made(4, seeds=(0, 1))
    table = comparisons([studied(runs)])
    table = table[(table["benchmark"] != BASE_TEXT) | (table["metric"] == "kl")]
    assert set(zip(table["benchmark"], table["metric"], strict=True)) == set(METRICS)
    for _, row in table.iterrows():
        point, other = (row["method"], row["learning_rate"]), (row["against"], row["learning_rate"])
        pair = [
            scores_slowly(runs, side, row["benchmark"], row["metric"], COUNT)
            for side in (point, other if row["against"] != BASE else (BASE, None))
        ]
        assert bounds(row, "difference") == pytest.approx(interval_slowly(less(*pair)), abs=1e-12)


def area_slowly(points, corner):
    """Of the union of rectangles from a corner to points above it: slab by slab between neighbours in x."""
    xs = sorted({corner[0], *(x for x, _ in points if x > corner[0])})
    heights = [max([y - corner[1] for x, y in points if x >= right and y > corner[1]], default=0.0) for right in xs[1:]]
    return sum((right - left) * height for left, right, height in zip(xs, xs[1:], heights, strict=False))


def test_the_intervals_of_the_hypervolume_and_of_the_front():
    runs = made(6, seeds=(0, 1))
    of = studied(runs)
    domain, general = (
        {point: found(point) for point in POINTS}
        for found in (
            lambda point: scores_slowly(runs, point, DOMAIN, "balanced_accuracy", COUNT),
            lambda point: general_slowly(runs, point, COUNT),
        )
    )
    volumes = {
        method: [
            area_slowly([(domain[p][r], general[p][r]) for p in POINTS if p[0] == method], (domain[BASE, None][0], 0.0))
            for r in range(COUNT + 1)
        ]
        for method in ("sft", "talr")
    }
    for _, row in hypervolume([of]).iterrows():
        assert bounds(row, "hypervolume") == pytest.approx(interval_slowly(volumes[row["method"]]))
        best = [volumes[row["method"]][r] >= max(v[r] for v in volumes.values()) - 1e-9 for r in range(1, COUNT + 1)]
        assert row["p_best"] == pytest.approx(sum(best) / COUNT)
    for (_, row), point in zip(front([of]).iterrows(), POINTS, strict=True):
        beaten = any(
            domain[q][0] > domain[point][0] - 1e-9
            and general[q][0] > general[point][0] - 1e-9
            and (domain[q][0] > domain[point][0] + 1e-9 or general[q][0] > general[point][0] + 1e-9)
            for q in POINTS
        )
        assert row["on_front"] == (not beaten)
        assert bounds(row, "general_score") == pytest.approx(interval_slowly(general[point]))


def ways(n, things):
    """All ways to draw n times from some things, as counts, and how likely each is."""
    for cuts in itertools.combinations(range(n + things - 1), things - 1):
        counts = [b - a - 1 for a, b in zip((-1, *cuts), (*cuts, n + things - 1), strict=True)]
        yield counts, math.factorial(n) / math.prod(map(math.factorial, counts)) / things**n


@pytest.mark.parametrize("metric", [key for key in METRICS if key[1] != "accuracy_lab"], ids=" ".join)
def test_the_interval_is_that_of_all_samples_that_there_are(metric):
    """Of 5 items and 2 pseudo-items there are 1,716 draws of 7, and 16 throws of four coins."""
    benchmark, name = metric
    runs = made(8, methods=("sft",), rates=(1.0,), seeds=(0,), sizes=(5, 5, 5, 5))
    of = studied(runs, count=4000, assumed_sd=0.0)
    base, ours = (weighed(benchmark, name, of_run[benchmark]) for of_run in runs.values())
    bounded = benchmark != BASE_TEXT and name != CODE_LENGTH
    every = []
    for counts, chance in ways(7, 7):
        drawn = [i for i, times in enumerate(counts[:5]) for _ in range(times)]
        for tosses in itertools.product((0.0, 1.0), repeat=4) if bounded else [()]:
            pairs = [
                [tosses[side * 2 + k] for k in range(2) for _ in range(counts[5 + k])] if bounded else []
                for side in (0, 1)
            ]
            means = [mean_of(of_items, drawn, pair) for of_items, pair in zip((base, ours), pairs, strict=True)]
            if None in means:
                means = [mean_of(of_items, range(5), []) for of_items in (base, ours)]
            every.append((means[1] - means[0], chance / (16 if bounded else 1)))
    row = comparisons([of]).set_index(["benchmark", "metric"]).loc[metric]
    estimate, low, high = bounds(row, "difference")
    assert estimate == pytest.approx(
        METRICS[metric](runs["sft", 1.0, 0][benchmark]) - METRICS[metric](runs[BASE, None, None][benchmark])
    )
    assert sum(chance for _, chance in every) == pytest.approx(1.0)
    error = 4 * math.sqrt(0.025 * 0.975 / 4000)
    for outside, at in ((lambda x: x < low - 1e-9, low), (lambda x: x > high + 1e-9, high)):
        assert sum(chance for x, chance in every if outside(x)) <= 0.025 + error
        if at != estimate:
            assert sum(chance for x, chance in every if outside(x) or abs(x - at) < 1e-9) >= 0.025 - error
