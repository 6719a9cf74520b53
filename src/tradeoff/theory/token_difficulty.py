"""Which supervised tokens are hard, and how that moves in training; arXiv 2509.20758.

Tokens are those of the test items' right responses. p > 0.2 is the only threshold between easy and hard that is on
record for the paper.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.study import BASE
from tradeoff.tables.replicates import REPLICATES, Array, draws, interval
from tradeoff.tables.schemas import HARD_TOKENS, NULLABLE, TOKEN_DIFFICULTY
from tradeoff.theory.code_length import by_domain, states

HARD = 0.2
EASIER = 0.5
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
KINDS = ("all", "number", "unit", "format", "word")
CONTEXT = 40  # characters
MOST = 50  # hard tokens of a domain
WORDS = """% bpm mmhg hg cm m mm in inch inches ft kg g mg mcg µg ug ng pg lb lbs l dl ml mol mmol µmol umol mosm meq iu
u °c °f cells beats min mins s sec h hr hrs hour hours day days week weeks month months year years"""
UNITS = frozenset(WORDS.split())

# Strings of an item's scored tokens, by model, domain and item.
Strings = Mapping[tuple[str, str, str], Sequence[str]]


def token_difficulty(texts: pd.DataFrame, strings: Strings, count: int = REPLICATES) -> pd.DataFrame:
    """One row for each state and kind of token, in the columns of `schemas.TOKEN_DIFFICULTY`.

    Args:
        texts: As for `code_length.code_length`; only rows of domains count.
        strings: Of each model, domain and item, the strings of its scored tokens.
        count: Replicates of the bootstrap over items.
    """
    rows: list[dict[str, Any]] = []
    for domain, of_domain in by_domain(texts):
        for state, items in states(of_domain[of_domain["benchmark"] == domain]):
            nll = [np.asarray(each, float) for each in items["token_nll"]]
            of_kind = np.concatenate([kinds(strings, state, item) for item in items["item"]])
            rows += _by_kind(state, nll, of_kind, count)
    frame = pd.DataFrame(rows).reindex(columns=TOKEN_DIFFICULTY.names)
    return frame.astype({name: kind for name, kind in NULLABLE.items() if name in frame})


def hard_tokens(texts: pd.DataFrame, strings: Strings, most: int = MOST) -> pd.DataFrame:
    """The tokens that the base finds hardest, with what comes before them, and their probability in every state.

    Args:
        texts: As for `token_difficulty`.
        strings: As for `token_difficulty`.
        most: Tokens of each model and domain; of these, only such with p of at most `HARD`.
    """
    rows: list[dict[str, Any]] = []
    for domain, of_domain in by_domain(texts):
        chosen: list[dict[str, Any]] = []
        for state, items in states(of_domain[of_domain["benchmark"] == domain]):
            nll = dict(zip(items["item"], items["token_nll"], strict=True))
            if state["method"] == BASE:
                chosen = _hardest(nll, {item: _of_item(strings, state, item) for item in nll}, most)
            rows += [{**state, **token, "p": _p(nll[token["item"]][token["position"]])} for token in chosen]
    frame = pd.DataFrame(rows).reindex(columns=HARD_TOKENS.names)
    return frame.astype({name: kind for name, kind in NULLABLE.items() if name in frame})


def kind(before: str, token: str) -> str:
    """number, unit, format or word.

    A token with a digit is a number; white space, punctuation and an end of turn are format; a word, of which the token
    may be the end, is a unit where it is in `UNITS` and follows a number, a slash, a bracket or a unit.
    """
    bare = token.strip()
    if not bare or re.fullmatch(r"<\|.*\|>|</?\w+>", bare):
        return "format"
    if re.search(r"\d", bare):
        return "number"
    word = re.search(r"(\S*)$", before)[1] + token if token[:1].strip() else token  # type: ignore[index]
    word = re.split(r"[\d(\[/*^]", word.strip())[-1].strip(".,;:)]").lower()
    if (word in UNITS or bare == "%") and _after_number(before, token):
        return "unit"
    if not any(unicodedata.category(character)[0] in "LN" for character in bare):
        return "format"
    return "word"


def kinds(strings: Strings, state: Mapping[str, Any], item: str) -> Any:
    """The kind of each token of an item, [T]."""
    return _kinds(tuple(_of_item(strings, state, item)))


@cache
def _kinds(tokens: tuple[str, ...]) -> Any:
    """Looked at once, since all states and both tables have the same texts."""
    before, found = "", []
    for token in tokens:
        found.append(kind(before, token))
        before += token
    return np.array(found)


def _by_kind(state: dict[str, Any], nll: Sequence[Array], of_kind: Any, count: int) -> Iterator[dict[str, Any]]:
    p_T = np.exp(-np.concatenate(nll))
    of_item_T = np.repeat(np.arange(len(nll)), [len(each) for each in nll])
    drawn = draws(state["domain"], len(nll), count)
    for name in KINDS:
        chosen_T = np.ones(len(p_T), bool) if name == "all" else of_kind == name
        if not chosen_T.any():
            continue
        hard_T = chosen_T & (p_T <= HARD)
        yield {
            **state,
            "kind": name,
            "tokens": int(chosen_T.sum()),
            **{f"p_{round(100 * q):02}": float(np.quantile(p_T[chosen_T], q)) for q in QUANTILES},
            **_share("share_above_0.2", drawn, of_item_T, chosen_T, p_T > HARD),
            **_share("share_above_0.5", drawn, of_item_T, chosen_T, p_T > EASIER),
            "share_hard": float(hard_T.mean()),
        }


def _share(name: str, drawn: Any, of_item_T: Any, chosen_T: Any, holds_T: Any) -> dict[str, float]:
    """The share of chosen tokens of which something holds, with its interval over items."""
    items = drawn.shape[1]
    of, holding = (np.bincount(of_item_T, (chosen_T & with_T).astype(float), items) for with_T in (True, holds_T))
    total = drawn @ of
    estimate = float(holding.sum() / of.sum())
    return interval(name, np.where(total > 0, drawn @ holding / np.maximum(total, 1), estimate))


def _hardest(
    nll: Mapping[str, Sequence[float]], strings: Mapping[str, Sequence[str]], most: int
) -> list[dict[str, Any]]:
    places = [(-_p(value), item, place) for item, values in nll.items() for place, value in enumerate(values)]
    hardest = sorted((-minus_p, item, place) for minus_p, item, place in places if -minus_p <= HARD)[:most]
    found = []
    for rank, (p, item, place) in enumerate(hardest, 1):
        before, token = "".join(strings[item][:place]), strings[item][place]
        shown = {"context": before[-CONTEXT:], "token": token, "kind": kind(before, token)}
        found.append({"rank": rank, "item": item, "position": place, **shown, "base_p": p})
    return found


def _of_item(strings: Strings, state: Mapping[str, Any], item: str) -> Sequence[str]:
    return strings[state["model"], state["domain"], item]


def _after_number(before: str, token: str) -> bool:
    """Whether the word that the token ends follows a number, a slash or a bracket, other units between left out."""
    if token[:1].strip():
        before = re.sub(r"[^\W\d]*[µ°]?[^\W\d]*$", "", before)
    while (word := re.search(r"(?:^|[\s\d])([^\s\d]+)\s*$", before)) and word[1].lower() in UNITS:
        before = before[: word.start(1)]
    return bool(re.search(r"[\d/(\[%]\s*$", before))


def _p(nll: float) -> float:
    return float(np.exp(-nll))
