"""MedCalc-Bench: medical calculation from patient notes, with chain of thought.

Source: Khandekar et al. 2024, arXiv 2406.12036, https://github.com/ncbi-nlp/MedCalc-Bench; 55 calculators. v1.0 has
1,047 test rows, v1.2 has 1,100. A training row whose note and question are a test row's is dropped: there are copies of
the training data that hold the whole test split. Eight test rows of v1.0 repeat an earlier one; they are kept, so that
the score is the benchmark's.

The benchmark's own prompt wants the reasoning and the answer in one JSON dictionary. Ours wants the reasoning, then a
line `Answer: <value>`, which is how the benchmark's worked explanations are learned here.

Two scores, which differ in how the answer is read and not in when it is right (`_medcalc_official.is_right`):

- `repaired`, the domain score, reads as a person would. What that means is told at `read_answer`.
- `official` is the benchmark's own reading (`_medcalc_official.py`). It can be right where a person finds no answer.

Each comes once more under the name of the row's category (`repaired_lab`).

Faults of the data are left as they are: the Child-Pugh scores ignore ascites (ncbi-nlp/MedCalc-Bench#8), Glasgow Coma
Scores go up to 20 of 15, and at least 27 % of the test labels are disputed (arXiv 2512.19691).
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tradeoff.domains import Domain, Example, Metric, Outcome, Size, Split
from tradeoff.domains import _medcalc_official as official
from tradeoff.domains._medcalc_official import Kind, Value
from tradeoff.domains._scorers import common
from tradeoff.draws import draw
from tradeoff.errors import one_line
from tradeoff.numbers import ascii_digits
from tradeoff.sources import read_rows


@dataclass(frozen=True)
class Medcalc(Domain):
    """A value or a score from a patient's note, worked out step by step.

    Attributes:
        longest_note: Characters of the patient note; rows with longer notes are left out of both splits.
        longest_explanation: Characters of the worked explanation; likewise.
        max_new_tokens: Generation limit. A response of up to 2,900 characters stays under the default, counted with
            SmolLM2's tokenizer; one in seventeen of v1.0's own test responses does not.
    """

    kind = "medcalc"
    size = Size(train=10_543, test=1_100, prompt=900, response=380)
    version = "1.1"
    metrics = (Metric("repaired"), Metric("official"))
    longest_note: Annotated[int, Field(ge=1)] | None = None
    longest_explanation: Annotated[int, Field(ge=1)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 1024

    def data(self, split: Split) -> tuple[str, ...]:
        """See `Domain.data`. What may be trained on depends on the test file too."""
        return (_TEST,) if split == "test" else (_TRAIN, _TEST)

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. An id ends with the row's number in its file, from 1."""
        path = files[_TEST if split == "test" else _TRAIN]
        rows = _rows(path)
        every = [(row, _example(split, row)) for row in rows]  # so that any broken row is found in any draw
        tested = {_asked(row) for row in _rows(files[_TEST])} if split == "train" else set()
        new = [(row, example) for row, example in every if _asked(row) not in tested]
        if len(new) < len(every):
            print(f"{path}: dropped {len(every) - len(new)} rows, since their questions are in {files[_TEST]}")
        pool = [example for row, example in new if self._takes(row)]
        return draw(pool, count, f"{self.kind} {split} {seed}", f"{path}{self._limits()}")

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`. Invalid is what `read_answer` finds no answer in."""
        found = read_answer(response, answer["kind"], answer["calculator"])
        values = {
            "repaired": float(official.is_right(found, answer)),
            "official": float(official.is_right(official.read_answer(response, answer["kind"]), answer)),
        }
        of_category = {f"{name}_{answer['category']}": value for name, value in values.items()}
        return Outcome(values | of_category, invalid=found is None)

    def _takes(self, row: _Row) -> bool:
        return all(
            longest is None or len(row.text(column)) <= longest
            for column, longest in ((_NOTE, self.longest_note), (_EXPLANATION, self.longest_explanation))
        )

    def _limits(self) -> str:
        limits = (("notes", self.longest_note), ("explanations", self.longest_explanation))
        told = [f"{what} of at most {longest} characters" for what, longest in limits if longest is not None]
        return f", rows with {' and '.join(told)}" if told else ""


def read_answer(response: str, kind: Kind, calculator: int) -> Value | None:
    """The answer that a person finds in a response; None if there is none, or if it can be read in two ways.

    An answer is what follows the last mark of one: a line that starts with `Answer:` or `The final answer is`, a JSON
    field "answer", or LaTeX's boxed. Markdown and LaTeX around it are looked over. After an equals sign the result
    counts; in a sentence, what follows "is" or a colon.

    - A number is the first one there: "score is 7 (class 2)" is 7, "3 out of 5" is 3, "mL/min/1.73 m²: 66.1" is 66.1.
      Digits in names and units are no numbers, nor are "1,23" and ranges; a word of a script that puts no space between
      words, such as Chinese, ends before a number. A unit is not converted. A per cent sign belongs to the unit where a
      percentage is asked for; elsewhere 120 % is 1.2. Digits of any script are digits.
    - A date is 3/5/2023, 03-05-23, 2023-03-05, March 5, 2023 or 5 Mar 2023. Two numbers before the year are month and
      day, as the questions ask; a year of two digits is in this century.
    - Weeks and days are (4, 3), (4 weeks, 3 days), "4 weeks and 3 days", 4w3d or the obstetric 4+3 and 4 3/7 weeks.
      "31 weeks" is (31, 0) and "6 days" is (0, 6), as in the benchmark's own explanations.

    Returns:
        A finite number for decimals and integers, MM/DD/YYYY for dates, [weeks, days] for weeks.
    """
    marks = list(_MARK.finditer(common(response)))
    if not marks:
        return None
    text = _plain(next(group for group in marks[-1].groups() if group is not None))
    if kind == "date":
        return _read_date(_result(text, _find_date))
    if kind == "weeks":
        return _read_weeks(text)
    return _read_number(text, kind, percent=calculator in _PERCENTAGES)


_TRAIN = "medcalc_train"
_TEST = "medcalc_test"

_CALCULATOR = "Calculator ID"
_CATEGORY = "Category"
_TYPE = "Output Type"
_NOTE = "Patient Note"
_QUESTION = "Question"
_TRUTH = "Ground Truth Answer"
_LIMITS = ("Lower Limit", "Upper Limit")
_EXPLANATION = "Ground Truth Explanation"

# Two of them have another name in the training file.
_CATEGORIES = {
    **{name: name for name in ("lab", "risk", "physical", "severity", "diagnosis", "date", "dosage")},
    "lab test": "lab",
    "dosage conversion": "dosage",
}
_TYPES = {"decimal", "integer", "date"}

# The fractional excretion of sodium and the Framingham risk.
_PERCENTAGES = {40, 46}

_FORMS: dict[Kind, str] = {
    "decimal": "<number>",
    "integer": "<whole number>",
    "date": "<MM/DD/YYYY>",
    "weeks": "(<weeks> weeks, <days> days)",
}


@dataclass(frozen=True)
class _Row:
    """A row of a file, and where it is."""

    path: Path
    number: int
    cells: Mapping[str, Any]

    def text(self, column: str) -> str:
        if column not in self.cells:
            raise ValueError(f"{self.path}: has no column {column!r}; use the file that the authors publish")
        value = self.cells[column]
        text = "" if value is None or value != value else str(value).strip()
        if not text:
            raise self.wrong(column, "is empty")
        return text

    def finite(self, column: str) -> float:
        text = self.text(column)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong(column, f"is {one_line(text, 40)!r}, no number")
        return number

    def wrong(self, column: str, what: str) -> ValueError:
        return ValueError(f"{self.path}, row {self.number}: {column!r} {what}; use the file that the authors publish")


def _rows(path: Path) -> list[_Row]:
    rows = [_Row(path, number, cells) for number, cells in enumerate(read_rows(path), start=1)]
    if not rows:
        raise ValueError(f"{path}: has no rows; use the file that the authors publish")
    return rows


def _asked(row: _Row) -> tuple[str, str]:
    """What is asked about whom; white space makes no difference."""
    return " ".join(row.text(_NOTE).split()), " ".join(row.text(_QUESTION).split())


def _example(split: Split, row: _Row) -> Example:
    calculator = row.finite(_CALCULATOR)
    kind = official.kind_of(int(calculator))
    if kind is None or not calculator.is_integer():
        raise row.wrong(_CALCULATOR, f"is {row.text(_CALCULATOR)}, none of the 55 calculators")
    for column, known in ((_CATEGORY, _CATEGORIES), (_TYPE, _TYPES)):
        if row.text(column) not in known:
            raise row.wrong(column, f"is {one_line(row.text(column), 40)!r}, none of {', '.join(known)}")
    value, written = _truth(row, kind)
    lower, upper = sorted(row.finite(column) for column in _LIMITS) if kind == "decimal" else (value, value)
    asks = f"Think step by step. End with a line `Answer: {_FORMS[kind]}`, without a unit."
    return Example(
        id=f"{split}-{row.number:05d}",
        messages=({"role": "user", "content": f"Patient note:\n{row.text(_NOTE)}\n\n{row.text(_QUESTION)}\n\n{asks}"},),
        response=f"{row.text(_EXPLANATION)}\nAnswer: {written}",
        answer={
            "calculator": int(calculator),
            "category": _CATEGORIES[row.text(_CATEGORY)],
            "kind": kind,
            "value": value,
            "lower": lower,
            "upper": upper,
        },
    )


def _truth(row: _Row, kind: Kind) -> tuple[Value, str]:
    """The right answer, and how a response writes it."""
    if kind == "date":
        date = _read_date(row.text(_TRUTH))
        if date is None:
            raise row.wrong(_TRUTH, f"is {one_line(row.text(_TRUTH), 40)!r}, no date")
        return date, date
    if kind == "weeks":
        pair = _read_weeks(_plain(row.text(_TRUTH)))
        if pair is None:
            raise row.wrong(_TRUTH, f"is {one_line(row.text(_TRUTH), 40)!r}, no weeks and days")
        return pair, "({} weeks, {} days)".format(*pair)
    number = row.finite(_TRUTH)
    return int(number) if number.is_integer() else number, row.text(_TRUTH)


# Where an answer begins. A repetition marked with a second + gives nothing back, so that no text makes a search slow.
_MARK = re.compile(
    r"""
    ^[ \t*_`>#-]*+ (?:(?:so|thus|hence|therefore),?\s)?+ (?:(?:the|my)\s)?+ (?:(?:final|correct)\s)?+
    answer [ \t*_`]*+ (?::|=|is\b[ \t]*+:?+) [ \t*_`]*+ (?:\n\s*+(?:[-*•][ \t]++)?+[*_`]*+)?+ ([^\n]*+)
    | ["']answer["']\s*+:\s*+ ("[^"\n]*+|'[^'\n]*+|[^}"\n]*+)
    | \\boxed\s*+\{ ((?:[^{}\n]|\{[^{}\n]*+\})*+)
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)

_SUPERSCRIPTS = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_PLAIN: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"[−‒–‐‑]", "-"),
        (r"[⁺⁻⁰¹²³⁴-⁹]+", lambda match: "^" + match[0].translate(_SUPERSCRIPTS)),
        (r"\\[dt]?frac\s*+\{([^{}]*+)\}\s*+\{([^{}]*+)\}", r"\1/\2"),
        (r"\\(?:times|cdot)(?![a-zA-Z])", "×"),
        (r"\\(?:approx|simeq|sim)(?![a-zA-Z])", "≈"),
        (r"\\[,;:! ]", "\u2009"),
        (r"\\[()\[\]]", " "),
        (r"\\[a-zA-Z]++|[\\{}$`_\"']", ""),
    )
)


def _plain(text: str) -> str:
    """Without Markdown, LaTeX and quotes, with plain minus signs and digits, and with exponents written ^3."""
    for pattern, plain in _PLAIN:
        text = pattern.sub(plain, text)
    return ascii_digits(text)


_REMARK = re.compile(r"\([^()]*+\)")
_EQUALS = re.compile(r"[=≈]")
_SAYS = re.compile(r"\b(?:is|are|was)\s|:\s", re.IGNORECASE)
_STARTS_WITH_DIGITS = re.compile(r"\W*+[0-9]")


def _result(text: str, find: Callable[[str], object]) -> str:
    """The part of an answer that says the result."""
    for part in reversed(_EQUALS.split(text)[1:]):
        if find(part):
            return part
    says = None if _STARTS_WITH_DIGITS.match(text) else _SAYS.search(text)
    return text[says.end() :] if says and find(text[says.end() :]) else text


# A letter, digit or _ that a number cannot follow directly: of a script with spaces between words.
_LETTER = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u312f\u3400-\u4dbf\u4e00-\u9fff]"

# Digits glued to a word, a slash or a power sign ("CURB-65", "CHA2DS2", "/1.73 m^2", "10-year") are part of a name or a
# unit, and digits around a further separator ("1,23", "1.2.3") are no number.
_NUMBER = re.compile(
    rf"""(?<!{_LETTER})(?<![.,/^-])(?<!per\s)
    (?P<sign>[-+]|(?:minus|negative)\s++)?
    (?P<digits>(?:[0-9]{{1,3}}(?:[,\u2009\u202f\u00a0][0-9]{{3}})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
    (?![0-9]|[.,][0-9]|-[a-z]|\s*+\^)
    (?:e(?P<exponent>[-+]?[0-9]++)|\s*+[x×*]\s*+10\s*+(?:\^|\*\*)\s*+\(?(?P<power>[-+]?[0-9]++))?
    (?P<percent>\s*+(?:%|per\s?cent))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LOOSE_SIGN = re.compile(r"^\s*+([-+])\s++")

# A range, a choice or a sum that is not worked out; 3/5 is 3 out of 5 where points are counted.
_GOES_ON: dict[Kind, re.Pattern[str]] = {
    "decimal": re.compile(r"\s*+(?:[-+x×*/]|to|or|and)\s*+[-+]?\.?[0-9]", re.IGNORECASE),
    "integer": re.compile(r"\s*+(?:[-+x×*]|to|or|and)\s*+[-+]?\.?[0-9]", re.IGNORECASE),
}


def _read_number(text: str, kind: Kind, percent: bool) -> float | None:
    """The number that a plain text gives; `percent` if it is a percentage anyway."""
    outside = _REMARK.sub(" ", text)
    text = _result(outside if _NUMBER.search(outside) else text, _NUMBER.search)
    text = _LOOSE_SIGN.sub(r"\1", text)
    match = _NUMBER.search(text)
    if match is None or _GOES_ON[kind].match(text, match.end()):
        return None
    digits = re.sub(r"[^0-9.]", "", match["digits"])
    number = float(f"{digits}e{match['exponent'] or match['power'] or 0}")
    if match["sign"] and match["sign"] != "+":
        number = -number
    if match["percent"] and kind == "decimal" and not percent:
        number /= 100
    return number if math.isfinite(number) else None


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*+\.?+,?+"
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?+"
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<!{_LETTER})(?<![/.-])(?P<month>[0-9]{{1,2}})(?P<sep>[/-])(?P<day>[0-9]{{1,2}})(?P=sep)"
        rf"(?P<year>[0-9]{{4}}|[0-9]{{2}})(?!{_LETTER}|[/-])",
        rf"(?<!{_LETTER})(?<![/.-])(?P<year>[0-9]{{4}})(?P<sep>[/-])(?P<month>[0-9]{{1,2}})(?P=sep)"
        r"(?P<day>[0-9]{1,2})(?![0-9/-])",
        rf"\b{_MONTH}\s*+{_DAY},?+\s*+(?P<year>[0-9]{{4}})(?![\w/-])",
        rf"(?<![\w/.,-]){_DAY}(?:\s++of\b)?+[\s-]*+{_MONTH}[\s-]*+(?P<year>[0-9]{{4}})(?![\w/-])",
    )
)
_OR = re.compile(r"\s*+(?:-|to|or|and)\s++", re.IGNORECASE)


def _find_date(text: str) -> re.Match[str] | None:
    found = [match for pattern in _DATES if (match := pattern.search(text))]
    return min(found, key=lambda match: match.start(), default=None)


def _read_date(text: str) -> str | None:
    """The first date as MM/DD/YYYY, or None if there is no such day or another one is joined to it."""
    match = _find_date(text)
    if match is None:
        return None
    other = _OR.match(text, match.end())
    if other and any(pattern.match(text, other.end()) for pattern in _DATES):
        return None
    name, year = match["month"].lower(), int(match["year"])
    month = _MONTHS.index(name) + 1 if name in _MONTHS else int(name)
    try:
        date = datetime.date(year + 2000 if year < 100 else year, month, int(match["day"]))
    except ValueError:
        return None
    return f"{date.month:02}/{date.day:02}/{date.year:04}"


_W = r"(?:weeks?+|wks?+|w)(?![a-z])"
_D = r"(?:days?+|d)(?![a-z])"
_WEEKS_AND_DAYS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![\w.,/+-])([0-9]{{1,3}})\s*+(?:{_W}[\s.,;+&]*+(?:and\s++)?+|[,+]\s*+)"
        rf"([0-9]{{1,2}})(?:/7)?+(?:\s*+{_D})?+(?!\w|[.,/][0-9]|\s*+w)",
        rf"(?<![\w.,/+-])([0-9]{{1,3}})\s++([0-6])/7\s*+{_W}",
    )
)
_ALONE = re.compile(rf"[^0-9]*+(?<![.,-])(?:([0-9]{{1,3}})\s*+{_W}|([0-9]{{1,3}})\s*+{_D})[^0-9]*+", re.IGNORECASE)


def _read_weeks(text: str) -> list[int] | None:
    """Weeks and days, or one of them where no other number is outside parentheses; None for more than 6 days."""
    found = [match.groups() for pattern in _WEEKS_AND_DAYS for match in pattern.finditer(text)]
    if not found and (alone := _ALONE.fullmatch(_REMARK.sub(" ", text)) or _ALONE.fullmatch(text)):
        found = [alone.groups()]
    pairs = {(int(weeks or 0), int(days or 0)) for weeks, days in found}
    if len(pairs) != 1:
        return None
    ((weeks, days),) = pairs
    return [weeks, days] if days < 7 else None
