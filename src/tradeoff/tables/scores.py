"""Items to scores. A metric is a mean over classes of weighted means over items; most have one class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.evaluation import INVALID
from tradeoff.tables import schemas

Array = npt.NDArray[np.float64]
# The benchmarks of a general score: alike, or with weights.
Score = Sequence[str] | Mapping[str, float]


def general_mean(parts: Mapping[str, Array], scored: Score) -> Array:
    """The general score: the weighted mean of its benchmarks' scores, which is the plain mean of names alone.

    Args:
        parts: The scores of each benchmark, all of one shape.
        scored: Those that count.
    """
    chosen = np.stack([parts[name] for name in scored])
    weights = np.array([scored[name] if isinstance(scored, Mapping) else 1.0 for name in scored])
    if (weights == weights[0]).all():
        return np.asarray(chosen.mean(axis=0))
    return np.asarray(np.average(chosen, axis=0, weights=weights))


def weighted_mean(values: Array, weights: Array) -> tuple[float, float]:
    """The mean of independent items and its standard error (linearised, with the n - 1 correction).

    The error is 0 where all items agree, and NaN for a single item, about whose spread nothing is known.

    Args:
        values: [items].
        weights: [items, classes]: the mean over classes of the means weighted by a column; one class is a plain mean.
    """
    totals = weights.sum(axis=0)
    means = (weights * values[:, None]).sum(axis=0) / totals
    n = len(values)
    if n < 2:
        return float(means.mean()), math.nan
    influence = (weights * (values[:, None] - means) / totals).mean(axis=1)
    return float(means.mean()), math.sqrt(float((influence**2).sum()) * n / (n - 1))


def by_class(weights: Iterable[float], classes: Iterable[Mapping[str, float]]) -> Array:
    """Items' weights as [items, classes]; [items, 1] for a metric without classes."""
    of_items = list(classes)
    names = sorted({name for of in of_items for name in of})
    if not names:
        return np.array(list(weights), float)[:, None]
    return np.array([[of.get(name, 0.0) for name in names] for of in of_items])


def long(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples with one row a metric: columns `metric`, `filter`, `value`, `weight` and `classes` instead of the maps.

    Under a filter of its own an answer may be unreadable where it is readable under another; `invalid` follows that.
    """
    rows = samples.drop(columns=["prompt", "target", "response", "reasoning"]).reset_index(drop=True)
    values = [dict(v) for v in rows.pop("values")]
    weights = [dict(w) for w in rows.pop("weights")]
    classes = [{metric: dict(of) for metric, of in c} for c in rows.pop("class_weights")]
    kept = [[key for key in v if key.partition(",")[0] != INVALID] for v in values]
    repeated = rows.loc[rows.index.repeat([len(keys) for keys in kept])].reset_index(drop=True)
    each = [(key, v, w, c) for keys, v, w, c in zip(kept, values, weights, classes, strict=True) for key in keys]
    endings = [key.partition(",")[1:] for key, *_ in each]
    repeated["metric"] = [key.partition(",")[0] for key, *_ in each]
    repeated["filter"] = [name or "none" for _, name in endings]
    repeated["value"] = [v[key] for key, v, _, _ in each]
    repeated["weight"] = [w[key] for key, _, w, _ in each]
    repeated["classes"] = pd.Series([c.get(key, {}) for key, _, _, c in each], dtype=object)
    repeated["invalid"] = [
        bool(v.get(f"{INVALID}{comma}{name}", invalid))
        for (comma, name), (_, v, _, _), invalid in zip(endings, each, repeated["invalid"], strict=True)
    ]
    return repeated


def scores(samples: pd.DataFrame) -> pd.DataFrame:
    """One number a row, in the columns of `schemas.SCORES`.

    Args:
        samples: In the columns of `schemas.SAMPLES`.
    """
    keys = schemas.SCORES.names[: schemas.SCORES.names.index("value")]
    rows = []
    for key, items in long(samples).groupby(keys, dropna=False, sort=False):
        value, stderr = weighted_mean(items["value"].to_numpy(float), by_class(items["weight"], items["classes"]))
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "value": value,
                "stderr": stderr,
                "n": len(items),
                "n_truncated": int(items["truncated"].sum()),
                "n_invalid": int(items["invalid"].sum()),
                "n_unfinished": int(items["unfinished"].sum()),
                "n_too_long": int(items["too_long"].sum()),
                "reasoning_tokens": int(items["reasoning_tokens"].sum()),
                "answer_tokens": int(items["answer_tokens"].sum()),
            }
        )
    return pd.DataFrame(rows).astype(schemas.NULLABLE)[schemas.SCORES.names]
