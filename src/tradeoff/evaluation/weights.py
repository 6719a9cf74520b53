"""Every metric of a domain as a weighted mean over items, so that one formula serves values, errors and pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tradeoff.domains import Metric, Outcome


def item_weights(
    metrics: Sequence[Metric], answers: list[Mapping[str, Any]], outcomes: list[Outcome]
) -> list[dict[str, float]]:
    """Each item's weight in each of its metrics' means, so that every metric is a weighted mean over items.

    Balanced accuracy weighs a class by 1 / its items. F1 of a class is 2 TP / (2 TP + FP + FN), that is, the mean of
    "right" over the items of that class and the items called that class, an item that is both counted twice; the mean
    over the classes that occur is then a mean over all items too.
    """
    weights = [dict.fromkeys(outcome.values, 1.0) for outcome in outcomes]
    for metric in metrics:
        if metric.balanced_by is not None:
            counts = Counter(answer[metric.balanced_by] for answer in answers)
            for weight, answer in zip(weights, answers, strict=True):
                weight[metric.name] = len(answers) / (len(counts) * counts[answer[metric.balanced_by]])
        if metric.f1_of is not None:
            right = [answer[metric.f1_of] for answer in answers]
            named = [outcome.label for outcome in outcomes]
            counts = Counter(right) + Counter(label for label in named if label is not None)
            for weight, *labels in zip(weights, right, named, strict=True):
                weight[metric.name] = sum(1 / counts[label] for label in labels if label is not None)
    return weights
