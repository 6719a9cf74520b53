"""Code length of the domain's right responses and of general text, for the base and every run.

dL is a run's code length minus the base's on the same items. General text is drawn from the base itself, so that dL on
it is an unbiased estimate of KL(base || run); on the domain a negative dL is what was learned. arXiv 2509.20758.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.errors import UserError
from tradeoff.evaluation import BASE_TEXT
from tradeoff.study import BASE
from tradeoff.tables.replicates import REPLICATES, Array, draws, interval
from tradeoff.tables.schemas import CODE_LENGTH_TABLE, NULLABLE

STATE = ["run_id", "model", "domain", "method", "recipe", "learning_rate", "seed", "fraction"]
SIDES = {"domain": None, "general": BASE_TEXT}


def code_length(texts: pd.DataFrame, count: int = REPLICATES) -> pd.DataFrame:
    """One row for each state (the base, a run, a run after a part of its training) and side.

    Intervals are over items, which all states share: an item is drawn whole, with all its tokens.

    Args:
        texts: One row for each state, benchmark and item, with the columns of `STATE` (`domain`, `learning_rate` and
            `seed` null for the base), `benchmark`, `item`, `token_nll` (nats of each scored token) and `bytes` (UTF-8,
            of the scored text). A benchmark is a domain, of which these are the right responses, or `base_text`.
        count: Replicates of the bootstrap.

    Raises:
        UserError: two states were scored on different items.
    """
    rows: list[dict[str, Any]] = []
    for domain, of_domain in by_domain(texts):
        for side, benchmark in SIDES.items():
            of_side = of_domain[of_domain["benchmark"] == (benchmark or domain)]
            if len(of_side):
                rows += _side(of_side, side, count)
    frame = pd.DataFrame(rows).reindex(columns=CODE_LENGTH_TABLE.names)
    return frame.astype({name: kind for name, kind in NULLABLE.items() if name in frame})


def by_domain(texts: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each model and domain the base's rows, which get that domain, and then the runs'."""
    for model, of_model in texts.groupby("model", sort=False):
        is_base = of_model["method"] == BASE
        if not is_base.any():
            raise UserError(f"{model}: the base was not scored; delete the study's samples and run again")
        for domain in of_model.loc[~is_base, "domain"].unique():
            base = of_model[is_base].assign(domain=domain, fraction=0.0)
            of_base = base[base["benchmark"].isin([domain, BASE_TEXT])]
            yield str(domain), pd.concat([of_base, of_model[of_model["domain"] == domain]], ignore_index=True)


def states(of_domain: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each state's columns and its rows in the order of their items, the base first.

    Raises:
        UserError: two states were scored on different items or tokens.
    """
    first: list[tuple[str, str, int]] | None = None
    for key, rows in of_domain.groupby(STATE, sort=False, dropna=False):
        ordered = rows.sort_values(["benchmark", "item"]).reset_index(drop=True)
        shape = list(zip(ordered["benchmark"], ordered["item"], map(len, ordered["token_nll"]), strict=True))
        first = first or shape
        if shape != first:
            raise UserError(f"{key[0]}: scored on other items than the base; delete its samples and run again")
        yield dict(zip(STATE, key, strict=True)), ordered


def _side(of_side: pd.DataFrame, side: str, count: int) -> Iterator[dict[str, Any]]:
    base: Array | None = None
    for state, rows in states(of_side):
        tokens = rows["token_nll"].map(len).to_numpy(float)
        nats = np.array([np.sum(np.asarray(nll, float)) for nll in rows["token_nll"]])
        size = rows["bytes"].to_numpy(float)
        drawn = draws(str(rows["benchmark"].iat[0]), len(rows), count)
        per_token = drawn @ nats / (drawn @ tokens)
        base = per_token if base is None else base
        yield {
            **state,
            "side": side,
            "benchmark": rows["benchmark"].iat[0],
            **interval("code_length", per_token),
            **interval("bits_per_token", per_token / math.log(2)),
            **interval("bits_per_byte", drawn @ nats / (drawn @ size) / math.log(2)),
            **interval("change", per_token - base),
            "items": len(rows),
            "tokens": int(tokens.sum()),
            "bytes": int(size.sum()),
        }
