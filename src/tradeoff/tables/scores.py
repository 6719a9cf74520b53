"""Items to scores. Every metric is a weighted mean over items, so that one formula serves values, errors and pairs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

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
    """Samples with one row a metric: columns `metric`, `value` and `weight` instead of the maps."""
    rows = samples.drop(columns=["prompt", "target", "response"]).reset_index(drop=True)
    values = [dict(v) for v in rows.pop("values")]
    weights = [dict(w) for w in rows.pop("weights")]
    repeated = rows.loc[rows.index.repeat([len(v) for v in values])].reset_index(drop=True)
    repeated["metric"] = [metric for v in values for metric in v]
    repeated["value"] = [value for v in values for value in v.values()]
    repeated["weight"] = [w[metric] for v, w in zip(values, weights, strict=True) for metric in v]
    return repeated


def scores(samples: pd.DataFrame) -> pd.DataFrame:
    """One number a row, in the columns of `schemas.SCORES`.

    Args:
        samples: In the columns of `schemas.SAMPLES`.
    """
    keys = [name for name in schemas.SCORES.names if name not in ("value", "stderr", "n", "n_truncated", "n_invalid")]
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
            }
        )
    return pd.DataFrame(rows).astype({"learning_rate": "Float64", "seed": "Int32"})[schemas.SCORES.names]
