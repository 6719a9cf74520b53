"""Scoring rules of MedCalc-Bench (Khandekar et al. 2024, arXiv 2406.12036).

The official rules are kept: a decimal is right within 5 % of the truth, bounds included; an integer is right when it
rounds to the truth (Python's `round`, so 2.5 is 2, as in the official code); a date is right when it is the same day,
written MM/DD/YYYY. How the answer is read differs from the official extractor, which evaluates the model's text and
reads "1,200" as 2 and "66.1 mL/min per 1.73 m2" as 2: here a number is read as a person would.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Literal

from tradeoff.domains._scorers import common
from tradeoff.numbers import ascii_digits

Kind = Literal["decimal", "integer", "date"]
Value = float | str

TOLERANCE = 0.05


def limits(value: Value, kind: Kind) -> tuple[Value, Value]:
    """Smallest and largest right answer; the order holds for negative truths too."""
    if kind != "decimal":
        return value, value
    # Rounding takes off the float noise, so that 13.3 is a right answer to 14.
    bounds = [round(float(value) * (1 + side * TOLERANCE), 9) for side in (-1, 1)]
    return min(bounds), max(bounds)


def read_answer(response: str, kind: Kind) -> Value | None:
    """The answer on the last line that starts with `Answer:`, or None if there is none to be read.

    Returns:
        A finite float for decimals and integers, a string MM/DD/YYYY for dates.
    """
    lines = _ANSWER_LINE.findall(ascii_digits(common(response)))
    if not lines:
        return None
    if kind == "date":
        return read_date(lines[-1])
    result = read_number(lines[-1].rpartition("=")[2])  # of "150 - (90 + 12) = 48"
    return read_number(lines[-1]) if result is None else result


def is_right(found: Value, kind: Kind, lower: Value, upper: Value) -> bool:
    """Whether an answer that was read is right, given the `limits` of the truth."""
    if kind == "date":
        return found == lower
    number = float(found)
    return float(lower) <= (round(number) if kind == "integer" else number) <= float(upper)


def read_number(text: str) -> float | None:
    """The first number in the text: "1,234.5 mg" is 1234.5, "1.2 x 10^3" is 1200, "CURB-65 is 3" is 3.

    None if there is none, if it is not finite, or if it can be read two ways ("1,23").
    """
    match = _NUMBER.search(text)
    if match is None:
        return None
    sign, digits, exponent, power = match.groups()
    number = float(f"{digits.replace(',', '')}e{_ascii_sign(exponent or power or '0')}")
    if not math.isfinite(number):
        return None
    return -number if sign and sign != "+" else number


def read_date(text: str) -> str | None:
    """The first date of the form month/day/year in the text as MM/DD/YYYY, or None if there is no such day."""
    match = _DATE.search(text)
    if match is None:
        return None
    month, day, year = map(int, match.groups())
    try:
        return datetime.date(year, month, day).strftime("%m/%d/") + f"{year:04d}"
    except ValueError:
        return None


def _ascii_sign(exponent: str) -> str:
    return exponent.replace("−", "-")


# Markdown around the word, the colon and the value is looked over.
_ANSWER_LINE = re.compile(r"^[ \t*_`>#]*answer[ \t*_`]*:[ \t*_`]*(.*)$", re.IGNORECASE | re.MULTILINE)

# Digits glued to a word ("CHA2DS2", "CURB-65") are part of a name, and digits around a further separator ("1,23",
# "1.2.3") are no number.
_NUMBER = re.compile(
    r"""(?<![\w.,−-])
    ([-+−])?
    ((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
    (?![0-9]|[.,][0-9])
    (?:e([-+]?[0-9]+)|\s*[x×*]\s*10\s*(?:\^|\*\*)\s*\(?([-+−]?[0-9]+))?
    """,
    re.VERBOSE | re.IGNORECASE,
)

_DATE = re.compile(r"(?<![0-9/])([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})(?![0-9/])")
