"""Items to scores. Every metric is a weighted mean over items, so that one formula serves values, errors and pairs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.evaluation import INVALID
from tradeoff.tables import schemas

Array = npt.NDArray[np.float64]


def weighted_mean(values: Array, weights: Array) -> tuple[float, float]:
    """The weighted mean of independent items and its standard error (linearised, with the n - 1 correction).

    The error is 0 where all items agree, and NaN for a single item, about whose spread nothing is known.
    """
    total = weights.sum()
    mean = float((weights * values).sum() / total)
    n = len(values)
    if n < 2:
        return mean, math.nan
    squares = float((weights**2 * (values - mean) ** 2).sum())
    return mean, math.sqrt(squares * n / (n - 1)) / float(total)


def long(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples with one row a metric: columns `metric`, `filter`, `value` and `weight` instead of the maps.

    Under a filter of its own an answer may be unreadable where it is readable under another; `invalid` follows that.
    """
    rows = samples.drop(columns=["prompt", "target", "response", "reasoning"]).reset_index(drop=True)
    values = [dict(v) for v in rows.pop("values")]
    weights = [dict(w) for w in rows.pop("weights")]
    kept = [[key for key in v if key.partition(",")[0] != INVALID] for v in values]
    repeated = rows.loc[rows.index.repeat([len(keys) for keys in kept])].reset_index(drop=True)
    each = [(key, v, w) for keys, v, w in zip(kept, values, weights, strict=True) for key in keys]
    endings = [key.partition(",")[1:] for key, _, _ in each]
    repeated["metric"] = [key.partition(",")[0] for key, _, _ in each]
    repeated["filter"] = [name or "none" for _, name in endings]
    repeated["value"] = [v[key] for key, v, _ in each]
    repeated["weight"] = [w[key] for key, _, w in each]
    repeated["invalid"] = [
        bool(v.get(f"{INVALID}{comma}{name}", invalid))
        for (comma, name), (_, v, _), invalid in zip(endings, each, repeated["invalid"], strict=True)
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
        value, stderr = weighted_mean(items["value"].to_numpy(float), items["weight"].to_numpy(float))
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
