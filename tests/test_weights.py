"""Every metric is a weighted mean over items: balanced accuracy and macro-F1 too."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeoff.domains import Metric, Outcome
from tradeoff.evaluation.weights import item_weights

METRICS = (Metric("accuracy"), Metric("balanced_accuracy", balanced_by="label"), Metric("macro_f1", f1_of="label"))


def means(right, named):
    """All metrics of these answers."""
    outcomes = [
        Outcome({m.name: float(r == n) for m in METRICS}, invalid=n is None, label=n)
        for r, n in zip(right, named, strict=True)
    ]
    weights = item_weights(METRICS, [{"label": r} for r in right], outcomes)
    return {
        m.name: sum(o.values[m.name] * w[m.name] for o, w in zip(outcomes, weights, strict=True))
        / sum(w[m.name] for w in weights)
        for m in METRICS
    }


def test_a_small_table_by_hand():
    """E: recall 2/3, precision 2/2, F1 0.8; S: recall 1, precision 1/2, F1 2/3; C is missed: 0."""
    found = means("EEESC", ["E", "E", "S", "S", None])
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)


def test_a_class_that_is_only_named_counts_with_f1_0():
    assert means("EE", ["E", "I"])["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


@given(st.lists(st.tuples(st.sampled_from("ESCI"), st.sampled_from(["E", "S", "C", "I", None])), min_size=1))
def test_they_are_the_usual_definitions(pairs):
    right, named = ([pair[side] for pair in pairs] for side in (0, 1))
    classes = sorted({*right, *named} - {None})
    recalls, f1s = [], []
    for c in classes:
        both = sum(r == n == c for r, n in pairs)
        if right.count(c):
            recalls.append(both / right.count(c))
        f1s.append(2 * both / (right.count(c) + named.count(c)))
    found = means(right, named)
    assert math.isclose(found["balanced_accuracy"], sum(recalls) / len(recalls), abs_tol=1e-12)
    assert math.isclose(found["macro_f1"], sum(f1s) / len(f1s), abs_tol=1e-12)


def test_a_metric_that_some_items_alone_have_has_a_weight_there_alone():
    outcomes = [Outcome({"accuracy": 1.0, "accuracy_lab": 1.0}), Outcome({"accuracy": 0.0})]
    assert item_weights(METRICS[:1], [{}, {}], outcomes) == [{"accuracy": 1.0, "accuracy_lab": 1.0}, {"accuracy": 1.0}]
