"""Where a study's methods put their weight: on hard tokens, numbers, units; by their own hooks, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tradeoff.study import BASE
from tradeoff.tables.replicates import Array
from tradeoff.tables.schemas import NULLABLE, TOKEN_WEIGHTS
from tradeoff.theory.code_length import by_domain, states
from tradeoff.theory.token_difficulty import HARD, KINDS, Strings, kinds

if TYPE_CHECKING:
    from tradeoff.methods import Method


def token_weights(texts: pd.DataFrame, strings: Strings, methods: Mapping[str, Method]) -> pd.DataFrame:
    """One row for each state, method that weighs and kind of token, in the columns of `schemas.TOKEN_WEIGHTS`.

    Under the base's probabilities all methods weigh, as in their first step; under a run's, its own. The domain's test
    items stand for a batch and for the training set. A method that transforms another's run weighs as that one does.

    Args:
        texts: As for `code_length.code_length`; only rows of domains count.
        strings: Of each model, domain and item, the strings of its scored tokens.
        methods: Of the study, by name.
    """
    rows: list[dict[str, Any]] = []
    for domain, of_domain in by_domain(texts):
        base_means: Array | None = None
        for state, items in states(of_domain[of_domain["benchmark"] == domain]):
            nll = [np.asarray(each, float) for each in items["token_nll"]]
            base_means = np.array([each.mean() for each in nll]) if base_means is None else base_means
            of_kind = np.concatenate([kinds(strings, state, item) for item in items["item"]])
            for name in methods if state["method"] == BASE else [state["method"]]:
                share_T = weight_shares(_trained(methods, name), nll, base_means)
                rows += [{**state, "weighing": name, **row} for row in _by_kind(share_T, nll, of_kind)]
    frame = pd.DataFrame(rows).reindex(columns=TOKEN_WEIGHTS.names)
    return frame.astype({name: kind for name, kind in NULLABLE.items() if name in frame})


def weight_shares(method: Method, nll: Sequence[Array], base_means: Array) -> Array:
    """A method's weight on every token of all items as a share of its total weight, [T]; zeros where that is 0.

    Args:
        method: That trains.
        nll: Of each item, the nats of its tokens in a state.
        base_means: Of each item, the mean nats of its tokens under the base.
    """
    import torch

    from tradeoff.methods import Tokens

    item_T = torch.arange(len(nll)).repeat_interleave(torch.tensor([len(each) for each in nll]))
    batch = Tokens(torch.tensor(np.concatenate(nll)), item_T)
    weight_T = method.token_weights(Tokens(batch.nll_T, item_T, batch))
    example_E = method.example_weights(torch.tensor(base_means))
    weight_T = torch.ones_like(batch.nll_T) if weight_T is None else weight_T.double()
    weight_T = weight_T if example_E is None else weight_T * example_E[item_T]
    return np.asarray(weight_T / weight_T.sum().clamp(min=torch.finfo(torch.double).tiny))


def _trained(methods: Mapping[str, Method], name: str) -> Method:
    """The method by which a method's runs were trained."""
    source = methods[name].source
    return methods[name] if source is None else _trained(methods, source)


def _by_kind(share_T: Array, nll: Sequence[Array], of_kind: Any) -> Iterator[dict[str, Any]]:
    hard_T = np.exp(-np.concatenate(nll)) <= HARD
    for kind in KINDS:
        chosen_T = np.ones(len(hard_T), bool) if kind == "all" else of_kind == kind
        if chosen_T.any():
            shares = {"weight": share_T[chosen_T].sum(), "weight_hard": share_T[chosen_T & hard_T].sum()}
            yield {"kind": kind, "share": chosen_T.mean(), "share_hard": (chosen_T & hard_T).mean(), **shares}
