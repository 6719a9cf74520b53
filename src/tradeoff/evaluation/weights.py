"""Weights of items, with which every metric is a mean over items, or a mean over classes of means over items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tradeoff.domains import Metric, Outcome

Weights = dict[str, float]


def class_weights(
    metrics: Sequence[Metric], answers: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> list[dict[str, Weights]]:
    """Of metrics that are means over classes, each item's weight in the mean of each class that it belongs to.

    Balanced accuracy is the mean over classes of the accuracy on the items of a class. F1 of a class is
    2 TP / (2 TP + FP + FN), that is, the mean of "right" over the items of that class and the items called that class,
    an item that is both counted twice. Which classes there are is decided where the mean is taken, in each replicate.
    """
    found: list[dict[str, Weights]] = [{} for _ in outcomes]
    for metric in metrics:
        for weights, answer, outcome in zip(found, answers, outcomes, strict=True):
            if metric.balanced_by is not None:
                weights[metric.name] = {answer[metric.balanced_by]: 1.0}
            if metric.f1_of is not None:
                classes = weights.setdefault(metric.name, {})
                for label in (answer[metric.f1_of], outcome.label):
                    if label is not None:
                        classes[label] = classes.get(label, 0.0) + 1.0
    return found
