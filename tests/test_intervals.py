"""Intervals by brute force: the numbers of the tables and their bounds again, from items and each metric's definition.

A replicate is written out, item by item and seed by seed, and every metric is computed from that in plain loops. The
draws are those of `replicates.draws`, or on very few items all that there are.
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
from tradeoff.tables.comparisons import comparisons
from tradeoff.tables.pareto import front, hypervolume
from tradeoff.tables.replicates import draws, replicates
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


def samples(runs):
    rows = []
    for (method, rate, seed), of in runs.items():
        for name, items in of.items():
            classes = [{}] * len(items)
            if name == DOMAIN:
                outcomes = [Outcome({}, label=i["named"]) for i in items]
                classes = class_weights(CLASS_METRICS, [{"label": i["right"]} for i in items], outcomes)
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


def studied(runs, count=COUNT):
    (of,) = replicates(samples(runs), BENCHMARKS, SCORED, count)
    return of


# The same by brute force


def written_out(name, n, count):
    """The things that each replicate drew, as a list of numbers; the first is the estimate's."""
    return [[i for i, times in enumerate(row) for _ in range(int(times))] for row in draws(name, n, count)]


def scores_slowly(runs, point, benchmark, metric, count):
    """A metric of a point in every replicate: the mean over the drawn seeds of the metric of the drawn items."""
    seeds = sorted({seed for _, _, seed in runs if seed is not None})
    of_point = {seed: of for (*key, seed), of in runs.items() if tuple(key) == point}
    items = written_out(benchmark, len(next(iter(of_point.values()))[benchmark]), count)
    drawn_seeds = written_out("seeds", len(seeds), count)
    found = []
    for drawn_items, drawn in zip(items, drawn_seeds, strict=True):
        chosen = [of_point[seeds[i]] for i in drawn if seeds[i] in of_point] or list(of_point.values())
        each = [METRICS[benchmark, metric]([of[benchmark][i] for i in drawn_items]) for of in chosen]
        if None in each:  # no item of the category: what all items give
            each = [METRICS[benchmark, metric](of[benchmark]) for of in chosen]
        found.append(sum(each) / len(each))
    return found


def general_slowly(runs, point, count):
    parts = [
        scores_slowly(runs, point, SUITE, "exact_match", count),
        scores_slowly(runs, point, FOLLOWS, "inst_acc", count),
    ]
    return [sum(pair) / 2 for pair in zip(*parts, strict=True)]


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
        beaten = [
            any(
                domain[q][r] > domain[point][r] - 1e-9
                and general[q][r] > general[point][r] - 1e-9
                and (domain[q][r] > domain[point][r] + 1e-9 or general[q][r] > general[point][r] + 1e-9)
                for q in POINTS
            )
            for r in range(COUNT + 1)
        ]
        assert row["on_front"] == (not beaten[0])
        assert row["p_dominated"] == pytest.approx(sum(beaten[1:]) / COUNT)
        assert bounds(row, "general_score") == pytest.approx(interval_slowly(general[point]))


@pytest.mark.parametrize("metric", [key for key in METRICS if key[1] != "accuracy_lab"], ids=" ".join)
def test_the_interval_is_that_of_all_samples_that_there_are(metric):
    """Of 5 items there are 5^5 samples with replacement: 2.5 % are outside a bound, within the error of 4,000 draws."""
    benchmark, _ = metric
    runs = made(8, methods=("sft",), rates=(1.0,), seeds=(0,), sizes=(5, 5, 5, 5))
    of = studied(runs, count=4000)
    base, ours = (of_run[benchmark] for of_run in runs.values())
    every = [
        METRICS[metric]([ours[i] for i in drawn]) - METRICS[metric]([base[i] for i in drawn])
        for drawn in itertools.product(range(5), repeat=5)
    ]
    row = comparisons([of]).set_index(["benchmark", "metric"]).loc[metric]
    estimate, low, high = bounds(row, "difference")
    assert estimate == pytest.approx(METRICS[metric](ours) - METRICS[metric](base))
    error = 4 * math.sqrt(0.025 * 0.975 / 4000)
    for outside, at in ((lambda x: x < low - 1e-9, low), (lambda x: x > high + 1e-9, high)):
        assert sum(map(outside, every)) / len(every) <= 0.025 + error
        if at != estimate:
            assert sum(outside(x) or abs(x - at) < 1e-9 for x in every) / len(every) >= 0.025 - error
