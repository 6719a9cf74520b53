"""Items of general benchmarks that occur in a domain's training data: a gain on them shows memory, not ability.

An item occurs where its question and a training example share 13 words in a row (Brown et al. 2020, arXiv 2005.14165,
appendix C); of a shorter question all words, if these are 8 at least. Words are compared without case and signs. What
all items share, such as instructions and solved examples, is no part of a question; paraphrases are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from tradeoff.domains import Example
from tradeoff.tables import schemas

WORDS, LEAST = 13, 8
WORD = re.compile(r"\w+")
Words = tuple[str, ...]


def leakage(items: pd.DataFrame, trained: Mapping[str, Iterable[Example]]) -> pd.DataFrame:
    """In the columns of `schemas.LEAKAGE`: every item of a general benchmark and every domain.

    Args:
        items: Each once, with columns `benchmark`, `item` and `question`, which is null where nothing is asked.
        trained: Of each domain, the training examples.
    """
    asked = items[items["question"].notna()].to_dict("records")
    rows = []
    for domain, examples in trained.items():
        found = _shared([_spelled(str(row["question"])) for row in asked], examples)
        for row, (compared, example, words) in zip(asked, found, strict=True):
            named = {"domain": domain, "benchmark": row["benchmark"], "item": row["item"]}
            rows.append({**named, "compared": compared, "example": example, "words": words})
    return pd.DataFrame(rows, columns=schemas.LEAKAGE.names)


def told(table: pd.DataFrame) -> list[str]:
    """A line for each domain and benchmark of which items occur in the training data."""
    lines = []
    for (domain, benchmark), rows in table.groupby(["domain", "benchmark"], sort=False):
        if count := int(rows["example"].notna().sum()):
            lines.append(
                f"{benchmark}: {count} of {len(rows)} items share {WORDS} words in a row, or all, with the training "
                f"data of {domain}; a gain on them is none (tables/leakage.parquet lists them)"
            )
    return lines


def _shared(questions: Sequence[Words], examples: Iterable[Example]) -> list[tuple[bool, str | None, str | None]]:
    """Of each question, whether it is long enough, the first example that shares words with it, and these words."""
    wanted: dict[Words, list[int]] = {}
    for number, question in enumerate(questions):
        for words in set(_grams(question, min(WORDS, len(question)))) if len(question) >= LEAST else ():
            wanted.setdefault(words, []).append(number)
    sizes = sorted({len(words) for words in wanted})
    found: dict[int, tuple[str, str]] = {}
    for example in examples:
        for text in (*(turn["content"] for turn in example.messages), example.response):
            spelled = _spelled(text)
            for size in sizes:
                for words in _grams(spelled, size):
                    for number in wanted.get(words, ()):
                        found.setdefault(number, (example.id, " ".join(words)))
    return [(len(question) >= LEAST, *found.get(n, (None, None))) for n, question in enumerate(questions)]


def _spelled(text: str) -> Words:
    return tuple(WORD.findall(text.casefold()))


def _grams(words: Words, size: int) -> Iterator[Words]:
    return (words[start : start + size] for start in range(len(words) - size + 1))
