"""GSM8K: grade-school word problems of two to eight steps; each solution ends in "#### " and a whole number.

Source: Cobbe et al. 2021, arXiv 2110.14168; the task file follows lm-eval's. Exact match of the number that one of
three filters reads in the response: `strict-match` wants the mark "#### 18" and takes the first, `flexible-extract`
takes the last number wherever it stands (in "The answer is 18. This took 3 steps" it reads 3), `lenient` reads the
answer as a person would.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from tradeoff.draws import draw
from tradeoff.numbers import digits, lenient_answer
from tradeoff.sources import read_fields

FIELDS = {"question": str, "answer": str}


def items(
    count: int | None = None, seed: int = 0, files: dict[str, str] | None = None, **_: Any
) -> dict[str, datasets.Dataset]:
    """The train split, whose first problems are the solved examples, and the test split: `count` problems, or all.

    Raises:
        ValueError: there are fewer than `count`, or a file is not what it should be.
    """
    files = files or {}
    test = read_fields(Path(files["gsm8k_test"]), FIELDS)
    if count is not None:
        test = draw(test, count, f"gsm8k {seed}", files["gsm8k_test"])
    return {
        "train": datasets.Dataset.from_list(read_fields(Path(files["gsm8k_train"]), FIELDS)),
        "test": datasets.Dataset.from_list(test),
    }


def lenient(responses: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """lm-eval's custom filter: the number that `lenient_answer` reads, or "[invalid]" as the other filters say."""
    return [[_spelled(response) for response in item] for item in responses]


def _spelled(response: str) -> str:
    number = lenient_answer(response)
    return "[invalid]" if number is None else digits(number)
