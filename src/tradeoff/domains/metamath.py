"""MetaMathQA for training, GSM8K's test questions for the domain score.

Source: MetaMathQA (Yu et al. 2023, arXiv 2309.12284), 395,000 rephrased, reversed and newly answered questions from the
training questions of GSM8K (Cobbe et al. 2021, arXiv 2110.14168) and MATH. A training row whose question, or whose
original question, is a test question is dropped all the same; there should be none.

Training rows made from MATH may end in an answer that is no number, such as a formula; test answers all are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tradeoff.domains import Domain, Example, Metric, Outcome, Size, Split
from tradeoff.draws import draw
from tradeoff.numbers import lenient_answer
from tradeoff.sources import read_rows


@dataclass(frozen=True)
class MetaMath(Domain):
    """Grade-school mathematics with worked steps.

    Attributes:
        max_new_tokens: Generation limit.
    """

    kind = "metamath"
    size = Size(train=395_000, test=1_319, prompt=110, response=200)
    version = "1.3"
    metrics = (Metric("exact_match"),)
    excludes = frozenset({"gsm8k"})
    max_new_tokens: Annotated[int, Field(ge=1)] = 512

    def data(self, split: Split) -> tuple[str, ...]:
        """See `Domain.data`."""
        return (_TEST,) if split == "test" else (_TRAIN, _TEST)

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. An id ends with the row's number in its file, from 1."""
        name, example = (_TEST, _test_example) if split == "test" else (_TRAIN, _train_example)
        rows = _rows(files[name])
        if split == "train":
            rows = _not_tested(rows, files[_TEST])
        places = draw(list(rows), count, f"{self.kind} {split} {seed}", files[name])
        return [example(number, rows[number], f"{files[name]}, row {number}: ") for number in places]

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`. Right is the same number, however it is written."""
        found = lenient_answer(response)
        right = found is not None and answer["number"] is not None and found == Decimal(answer["number"])
        return Outcome({"exact_match": float(right)}, invalid=found is None)


_TRAIN = "metamath"
_TEST = "gsm8k_test"
_ASKS = 'Solve it step by step, and end with a line "The answer is: <number>".'

# GSM8K's marks for a calculator, as in 16 - 3 = <<16-3=13>>13.
_MARK = re.compile(r"<<[^<>]*>>")


def _train_example(number: int, row: dict[str, Any], where: str) -> Example:
    response = _text(row, "response", where)
    found = lenient_answer(response)
    # Not every training answer is a number; what is no number is learned all the same.
    return _example(f"train-{number:06d}", _text(row, "query", where), response, None if found is None else str(found))


def _test_example(number: int, row: dict[str, Any], where: str) -> Example:
    """With the solution written as MetaMathQA writes its own."""
    solution, sign, end = _text(row, "answer", where).rpartition("####")
    try:
        truth = Decimal(end.strip().replace(",", ""))
        if not (sign and truth.is_finite()):
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"{where}'answer' does not end with #### and a number; use GSM8K's own file") from None
    response = f"{_MARK.sub('', solution).strip()}\n#### {end.strip()}\nThe answer is: {end.strip()}"
    return _example(f"test-{number:06d}", _text(row, "question", where), response, str(truth))


def _example(name: str, question: str, response: str, number: str | None) -> Example:
    messages = ({"role": "user", "content": f"{question}\n\n{_ASKS}"},)
    return Example(name, messages, response, {"number": number})


def _rows(path: Path) -> dict[int, dict[str, Any]]:
    """Rows by number, from 1."""
    rows = dict(enumerate(read_rows(path), start=1))
    for number, row in rows.items():
        if not isinstance(row, dict):
            raise ValueError(f"{path}, row {number}: is no object; use the file that the authors publish")
    return rows


def _not_tested(rows: dict[int, dict[str, Any]], test: Path) -> dict[int, dict[str, Any]]:
    tested = {_words(_text(row, "question", f"{test}, row {number}: ")) for number, row in _rows(test).items()}
    kept = {
        number: row
        for number, row in rows.items()
        if tested.isdisjoint(_words(row.get(key)) for key in ("query", "original_question"))
    }
    if len(kept) < len(rows):
        first = next(number for number in rows if number not in kept)
        print(f"{len(rows) - len(kept)} training rows dropped, since the question is in {test}: row {first} first")
    return kept


def _words(text: Any) -> str:
    return " ".join(str(text).casefold().split())


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}{key!r} is missing or empty; use the file that the authors publish")
    return value.strip()
