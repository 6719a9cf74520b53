"""Metrics over classes: the usual definitions, as scikit-learn has them, in the estimate and in every replicate."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from tradeoff.domains import Metric, Outcome
from tradeoff.evaluation import Benchmark
from tradeoff.evaluation.weights import class_weights
from tradeoff.study import BASE
from tradeoff.tables.bootstrap import PSEUDO, coins, draws
from tradeoff.tables.replicates import ENDS, Point, interval, replicates
from tradeoff.tables.replicates import Metric as Of
from tradeoff.tables.scores import by_class, weighted_mean

METRICS = (Metric("accuracy"), Metric("balanced_accuracy", balanced_by="label"), Metric("macro_f1", f1_of="label"))
NAMES = tuple(metric.name for metric in METRICS)


def outcomes(right, named):
    return [
        Outcome({m.name: float(r == n) for m in METRICS}, invalid=n is None, label=n)
        for r, n in zip(right, named, strict=True)
    ]


def classes(right, named):
    return class_weights(METRICS, [{"label": r} for r in right], outcomes(right, named))


def means(right, named):
    """All metrics of these answers, with their standard errors."""
    values = np.array([float(r == n) for r, n in zip(right, named, strict=True)])
    of_items = classes(right, named)
    return {
        name: weighted_mean(values, by_class(np.ones(len(values)), [of.get(name, {}) for of in of_items]))
        for name in NAMES
    }


def by_sklearn(right, named):
    """An answer without a label is no class of its own."""
    known = ["-" if n is None else n for n in named]
    labels = sorted({*right, *known} - {"-"})
    return {
        "accuracy": np.mean([r == n for r, n in zip(right, known, strict=True)]),
        "balanced_accuracy": np.mean(
            [np.mean([n == c for r, n in zip(right, known, strict=True) if r == c]) for c in sorted(set(right))]
        ),
        "macro_f1": f1_score(right, known, labels=labels, average="macro", zero_division=0),
    }


def test_a_small_table_by_hand():
    """E: recall 2/3, precision 2/2, F1 0.8; S: recall 1, precision 1/2, F1 2/3; C is missed: 0."""
    found = means("EEESC", ["E", "E", "S", "S", None])
    assert found["accuracy"][0] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"][0] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["macro_f1"][0] == pytest.approx((0.8 + 2 / 3 + 0) / 3)


def test_a_class_that_is_only_named_counts_with_f1_0():
    assert means("EE", ["E", "I"])["macro_f1"][0] == pytest.approx((2 / 3 + 0) / 2)


PAIRS = st.lists(st.tuples(st.sampled_from("ESCI"), st.sampled_from(["E", "S", "C", "I", None])), min_size=1)


@given(PAIRS)
def test_they_are_scikit_learn_s(pairs):
    right, named = ([pair[side] for pair in pairs] for side in (0, 1))
    found, expected = means(right, named), by_sklearn(right, named)
    for name in NAMES:
        assert found[name][0] == pytest.approx(expected[name], abs=1e-12)
    if None not in named and set(named) <= set(right):
        assert expected["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(right, named))


def study(right, *models):
    """The replicates of a base and runs that name these labels."""
    rows = []
    for number, named in enumerate(models):
        of_classes = classes(right, named)
        rows += [
            {
                "run_id": str(number),
                "model": "m",
                "domain": "d" if number else None,
                "method": f"m{number}" if number else BASE,
                "recipe": "sft" if number else BASE,
                "learning_rate": 1.0 if number else None,
                "seed": 0 if number else None,
                "benchmark": name,
                "item": f"{i:03}",
                "truncated": False,
                "invalid": n is None,
                "values": [(metric, float(r == n)) for metric in NAMES],
                "weights": [(metric, 1.0) for metric in NAMES],
                "class_weights": [(metric, list(of.items())) for metric, of in of_classes[i].items()],
            }
            for name in ("d", "g")
            for i, (r, n) in enumerate(zip(right, named, strict=True))
        ]
    known = {name: Benchmark(name, "1", NAMES) for name in ("d", "g")}
    (found,) = replicates(pd.DataFrame(rows), known, {"d": ["g"]}, 400, assumed_sd=0.0)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_the_metric_of_all_items(seed):
    rng = np.random.default_rng(seed)
    right = rng.choice(list("ESCI"), 12, p=[0.6, 0.2, 0.1, 0.1]).tolist()
    models = [rng.choice(["E", "S", "C", "I", None], 12).tolist() for _ in range(3)]
    found = study(right, *models)
    for point, named in enumerate(models):
        for name in NAMES:
            assert found.scores[Of("d", name, "none")][0, point] == pytest.approx(by_sklearn(right, named)[name])


@pytest.mark.parametrize("seed", range(3))
def test_each_replicate_is_the_metric_of_the_items_that_it_drew(seed):
    """By brute force: items written out, and scikit-learn on them, where no pseudo-item was drawn."""
    rng = np.random.default_rng(seed)
    right = rng.choice(list("ESCI"), 12, p=[0.6, 0.2, 0.1, 0.1]).tolist()
    models = [rng.choice(["E", "S", "C", "I", None], 12).tolist() for _ in range(3)]
    found = study(right, *models)
    drawn = draws("d", 12 + PSEUDO, 400).astype(int)
    without = [r for r in range(1, 401) if not drawn[r, 12:].any()]
    assert len(without) > 20  # (12 / 14)^14 of 400
    for replicate in without[:10]:
        places = np.repeat(np.arange(12), drawn[replicate, :12])
        for point, named in enumerate(models):
            expected = by_sklearn([right[i] for i in places], [named[i] for i in places])
            for name in NAMES:
                assert found.scores[Of("d", name, "none")][replicate, point] == pytest.approx(expected[name])


def test_a_pseudo_item_counts_as_an_average_item_in_each_class():
    """Two classes of 3 and 1 items: of four items each has 3/4 of one in the first class and 1/4 in the second."""
    right, named = ["E", "E", "E", "S"], ["E", "E", "S", "S"]
    found = study(right, named, named).scores[Of("d", "balanced_accuracy", "none")][:, 1]
    drawn, tossed = draws("d", 4 + PSEUDO, 400), coins("d", Point("m1", "sft", 1.0), 400)
    for replicate in range(1, 30):
        counts, toss = drawn[replicate], (drawn[replicate, 4:] * tossed[replicate]).sum()
        extra = counts[4:].sum()
        recalls = [
            (earned + share * toss) / (total + share * extra)
            for share, earned, total in ((0.75, counts[:2].sum(), counts[:3].sum()), (0.25, counts[3], counts[3]))
            if total + share * extra > 0
        ]
        assert found[replicate] == pytest.approx(np.mean(recalls))


def test_a_model_that_always_says_one_class_has_a_narrow_interval():
    """Recall is 1 in one of four classes; items drawn apart from classes would give 0.17 to 0.37."""
    right = ["E"] * 65 + ["S"] * 22 + ["I"] * 10 + ["C"] * 3
    balanced = interval(
        "score", study(right, ["E"] * 100, ["E"] * 100).scores[Of("d", "balanced_accuracy", "none")][:, 1]
    )
    assert balanced["score"] == 0.25
    assert 0.235 < balanced["score_low"] <= 0.25
    assert balanced["score_high"] < 0.4  # a replicate may lack the class of 3
    assert ENDS == (0.025, 0.975)


def test_the_standard_errors_are_those_of_the_bootstrap():
    rng = np.random.default_rng(5)
    right = rng.choice(list("ESCI"), 400, p=[0.5, 0.3, 0.1, 0.1]).tolist()
    named = [r if rng.random() < 0.6 else rng.choice(list("ESCI")) for r in right]
    found = study(right, named, named)
    for name, (_, stderr) in means(right, named).items():
        assert stderr == pytest.approx(found.scores[Of("d", name, "none")][1:, 1].std(), rel=0.15)
