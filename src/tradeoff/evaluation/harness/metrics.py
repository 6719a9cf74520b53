"""From lm-eval's outcomes to values and weights, with which every metric is a weighted mean over items.

What a metric's aggregation does is found out by trying it on a few made-up outcomes, so that lm-eval's and a person's
own functions are read alike, and the same whatever a model answered. A perplexity is kept as its logarithm, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tradeoff.errors import UserError
from tradeoff.evaluation.harness.tree import MEMBERS, Group, Leaf, Node, leaves_of, primary_metric

Aggregation = Callable[[list[Any]], Any]
PAIRS = [(-2.0, 1), (-3.0, 3)]  # log-likelihoods with numbers of words or bytes
BRIER = [(0, np.array([0.5, 0.5])), (1, np.array([0.25, 0.75]))]
# Of each kind of aggregation, outcomes of items and what it makes of them.
TRIED: dict[str, tuple[list[Any], float]] = {
    "mean": ([1.0, 0.0, 0.25], 5 / 12),
    "lists": ([[True], [False, True, False]], 1 / 2),
    "log_mean": ([-1.0, -2.0], math.exp(1.5)),
    "log_pairs": (PAIRS, math.exp(5 / 4)),
    "bits": (PAIRS, 5 / 4 / math.log(2)),
    "brier": (BRIER, (0.5 + 0.125) / 2),
}


def kind_of(aggregation: Aggregation) -> str | None:
    """The kind of a weighted mean that an aggregation is, a key of `TRIED`; None where it is no mean over items."""
    for kind, (outcomes, expected) in TRIED.items():
        try:
            found = float(aggregation(list(outcomes)))
        except Exception:  # it was written for other outcomes
            continue
        if math.isclose(found, expected, rel_tol=1e-9):
            return kind
    return None


def value_of(kind: str, outcome: Any) -> tuple[float, float] | None:
    """An item's value and its weight in a metric's mean; None where it has no such value."""
    if outcome is None or isinstance(outcome, str | dict):
        return None
    if kind == "lists":
        verdicts = list(outcome) if isinstance(outcome, list | tuple) else [outcome]
        return (sum(map(float, verdicts)) / len(verdicts), float(len(verdicts))) if verdicts else None
    if kind in ("log_pairs", "bits"):
        log_likelihood, count = outcome
        return (-log_likelihood / count / (math.log(2) if kind == "bits" else 1.0), float(count)) if count else None
    if kind == "brier":
        right, probabilities = outcome
        return float(((np.asarray(probabilities) - np.eye(len(probabilities))[right]) ** 2).sum()), 1.0
    value = -float(outcome) if kind == "log_mean" else float(outcome)
    return None if math.isnan(value) else (value, 1.0)


def shares(node: Node, key: str, sizes: Mapping[str, int]) -> dict[str, float]:
    """The share of each task in a benchmark's mean, as lm-eval aggregates it; they sum to 1.

    Args:
        node: The benchmark.
        key: Of the metric, or `MEMBERS`: the plain mean over the members of the metrics that represent them.
        sizes: All items of each task that has the metric, drawn or not.
    """
    if isinstance(node, Group) and key == MEMBERS:
        parts = [shares(member, primary_metric(member, None), sizes) for member in node.members]
        found: dict[str, float] = {}
        for name, share in [item for part in parts for item in part.items()]:
            found[name] = found.get(name, 0.0) + share / len(parts)
        return found
    names = [leaf.name for leaf in leaves_of(node) if leaf.name in sizes]
    by_size = isinstance(node, Leaf) or node.aggregates.get(_name(key), {}).get("weight_by_size", True)
    each = [float(sizes[name]) if by_size else 1.0 for name in names]
    return {name: part / sum(each) for name, part in zip(names, each, strict=True)}


def allocated(count: int | None, sizes: Mapping[str, int], where: str) -> dict[str, int]:
    """How many items of each task are drawn: in proportion to their sizes, but one at least.

    Raises:
        UserError: there are fewer items than asked for.
    """
    total = sum(sizes.values())
    if count is None or count == total:
        return dict(sizes)
    if count > total:
        raise UserError(f"{where}: gives {total} examples, and {count} are asked for; ask for at most {total}")
    spare = count - len(sizes)
    exact = {name: spare * (size - 1) / max(1, total - len(sizes)) for name, size in sizes.items()}
    found = {name: 1 + int(part) for name, part in exact.items()}
    by_rest = sorted(sizes, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_rest[: count - sum(found.values())]:
        found[name] += 1
    return found


def weighted(
    node: Node, key: str, own: Mapping[str, Sequence[float]], sizes: Mapping[str, int]
) -> dict[str, list[float]]:
    """The weight of every item of each task in a benchmark's mean; their mean is 1.

    Args:
        node: The benchmark.
        key: As of `shares`.
        own: Of each task that has the metric, the items' weights in the task's own mean.
        sizes: All items of each task.
    """
    share = shares(node, key, {name: sizes[name] for name in own})
    items = sum(map(len, own.values()))
    return {name: [items * share[name] * w / sum(weights) for w in weights] for name, weights in own.items() if weights}


def _name(key: str) -> str:
    return key.partition(",")[0].removeprefix("log_")
