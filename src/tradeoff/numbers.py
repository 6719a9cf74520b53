r"""Reads the number that a worked solution gives as its answer.

GSM8K's own mark is a last line "#### 18" (Cobbe et al. 2021, arXiv 2110.14168). A model that was not tuned on it ends
otherwise: "The answer is **$18**.", "\boxed{18}", "so she makes 9 * 2 = $18 every day". Here the answer is read as a
person would read it, wherever it stands and however it is dressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal


def lenient_answer(text: str) -> Decimal | None:
    r"""The number that a solution gives as its answer, or None if there is no number in it.

    It is, of these, the first that there is:

    1. the number right after the first "####" that has one. Not the last: a model that does not stop goes on with
       questions of its own.
    2. the first number in the last \boxed{} that has one.
    3. the number of the last statement that has one: the first number in the sentence after "answer is", or right after
       "answer:". "The answer is 18. This took 3 steps" is 18.
    4. in the last line with a number: the last number in bold, or else the one after the last "=", or else the last.

    Where a calculation stands in place of a number, its result counts: "#### 9 * 2 = 18" is 18. Currency, units,
    percent signs, thousands separators, a final period, bold and LaTeX are looked over; "1/2" is 0.5 and "25%" is 25.
    Words ("eighteen", "3 million"), ordinals ("4th") and the numbers of list items and steps are not read.
    """
    text = _plain(text)
    for passage in _conclusions(text):
        number = _first_number(passage)
        if number is not None:
            return number
    return _last_number(text)


def digits(number: Decimal) -> str:
    """A number in its shortest spelling: 29.00 is "29"."""
    spelled = f"{number:f}"
    return (spelled.rstrip("0").rstrip(".") if "." in spelled else spelled) if number else "0"


def _plain(text: str) -> str:
    """A text without GSM8K's calculator annotations, LaTeX around numbers, and the numbers of list items."""
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def _conclusions(text: str) -> Iterator[str]:
    """Passages whose first number is the answer, the most authoritative first."""
    marked = (_line(text, mark.end()) for mark in _MARK.finditer(text))
    yield from (passage for passage in marked if _NUMBER.match(passage))
    yield from reversed(_BOXED.findall(text))
    for cue in reversed(list(_CUE.finditer(text))):
        passage = _line(text, cue.end())
        if cue["verb"]:
            yield _SENTENCE_END.split(passage, maxsplit=1)[0]
        elif (number := _NUMBER.match(passage)) and not _CALCULATION.match(passage, number.end()):
            # (With a calculation, it would be the label of the whole solution.)
            yield passage


def _line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


def _first_number(passage: str) -> Decimal | None:
    """The first number of a passage; of a calculation that begins with it, the result."""
    number = _NUMBER.search(passage)
    start = 0
    while number and _CALCULATION.match(passage, number.end()) and (start := passage.find("=", start) + 1):
        number = _NUMBER.search(passage, start) or number
    return _value(number) if number else None


def _last_number(text: str) -> Decimal | None:
    """What the last line with a number comes to."""
    for line in reversed(text.splitlines()):
        for pattern in (_BOLD, _RESULT, _NUMBER):
            found = list(pattern.finditer(line))
            if found:
                return _value(found[-1])
    return None


def _value(match: re.Match[str]) -> Decimal:
    if match["top"]:
        number = int(match["units"] or 0) + Decimal(match["top"]) / Decimal(match["bottom"])
    else:
        number = Decimal(match["decimal"].replace(",", ""))
    return number.copy_negate() if "-" in match["sign"] else number  # -number would be cut to 28 digits


_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"<<[^<>\n]*>>", ""),
        (r"[−–]", "-"),
        (r"(?<=[0-9])[ ]*(?=\\[dt]?frac)", " "),
        (r"\\[dt]?frac\{\s*([^{}]*?)\s*\}\{\s*([^{}]*?)\s*\}", r"\1/\2"),
        (r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}", r"\1"),
        # 1{,}234, 1,\!234, 1\,234 and 1 234 with a space that does not break.
        (r"(?<=[0-9])(?:\{,\}|,?\\[,!;:]|[\u00a0\u2009\u202f])(?=[0-9]{3}(?![0-9]))", ","),
        (r"\\([$%])", r"\1"),
        (r"\\(?:times|cdot|div)\b", "*"),
        (r"\\[()\[\] ]", " "),
        (r"(?im)^([ \t#>*]*)(?:step [0-9]+|[1-9])[.):]+\**[ \t]+(?=[*\"'(]*[a-z])", r"\1"),
    )
)

# A minus sign belongs to the number that it touches unless it touches something on its left too: "10-3" ends with 3.
# Digits in a name ("x2"), and those of an ordinal ("2nd"), are no number.
_NUMBER_PATTERN = r"""
    (?<![0-9A-Za-z])(?<![0-9]\.)
    (?P<sign>(?:(?<!\))(?:-?[$€£¥₹]{1,3}[ ]?-?|-))?)
    (?:
        (?:(?P<units>[0-9]{1,9})[ ])?(?P<top>[0-9]{1,9})/(?P<bottom>[1-9][0-9]{0,8})(?![0-9/]|\.[0-9])
        |
        (?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}(?![0-9])|[0-9]++)(?:\.[0-9]++)?|(?<!\.)\.[0-9]++)
    )
    (?!(?:st|nd|rd|th)\b)
"""
_DRESS = r"[\s*_`\"'()\[\]~≈]*+"

_NUMBER = re.compile(_NUMBER_PATTERN, re.VERBOSE)
_BOLD = re.compile(rf"(?<![0-9A-Za-z)])\*\*{_NUMBER_PATTERN}[^*]*\*\*", re.VERBOSE)
_RESULT = re.compile(rf"={_DRESS}{_NUMBER_PATTERN}", re.VERBOSE)
# After the first number of a calculation: a unit perhaps, then an operator and a number, or an equals sign.
_CALCULATION = re.compile(r"[ %)]*(?:[A-Za-z]+ )?(?:[-+*/x×÷·] *[-($€£¥₹ ]*[0-9]|=)")

_MARK = re.compile(rf"####{_DRESS}")
_BOXED = re.compile(r"\\boxed\{((?:[^{}]++|\{[^{}]*+\})*+)\}")
_CUE = re.compile(
    rf"""
    \banswer\b (?:\s(?:to|for|of)\b[^.:=?!\n]{{0,80}}?)? [\s*_`"']*+ (?:\([^()\n]*\))? {_DRESS}
    (?: (?P<verb>(?:(?:would|should|must|will)\sbe|is|equals|comes\sto)\b) \s*:? | [:=] )
    {_DRESS} (?:(?:about|approximately|around|exactly|only)\s+)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?][*_\"')\]}]*(?:\s|$)")
