r"""Reads the number that a worked solution gives as its answer.

GSM8K's own mark is a last line "#### 18" (Cobbe et al. 2021, arXiv 2110.14168). A model that was not tuned on it ends
otherwise: "The answer is **$18**.", "\boxed{18}", "so she makes 9 * 2 = $18 every day". Here the answer is read as a
person would read it, wherever it stands and however it is dressed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
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
    percent signs, a final period, bold and LaTeX are ignored; "1/2" is 0.5 and "25%" is 25. Words ("eighteen", "3
    million"), ordinals ("4th") and the numbers of list items and steps are not read. Digits of any script are digits,
    full-width signs are their common forms, and any dash that touches a number is its minus sign. "6.02e23", "10⁻³" and
    "1.5 x 10^6" are scientific notation.

    Commas and points: "1,234" and "1,23,456" are thousands (groups of three, or Indian ones, that end in three digits
    and do not begin with 0). Another comma between two digits is a decimal mark: "12,5", "3,1416", "0,125", "1234,567".
    Where both occur, the last is the decimal mark: "1,234.5" and "1.234,5" are 1234.5. "1.234.567" is 1234567, "1.234"
    is not. "1,2,3" are three numbers.

    The time is linear in the length of the text.
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


def ascii_digits(text: str) -> str:
    """A text with digits, decimal points and thousands commas of every script in ASCII."""
    return text if text.isascii() else "".join(map(_ascii_digit, text))


def ascii_signs(text: str) -> str:
    """As `ascii_digits`, and with dashes and full-width signs in ASCII."""
    return text if text.isascii() else ascii_digits(text).translate(_SIGNS)


def _plain(text: str) -> str:
    """A text in ASCII digits and signs, without GSM8K's annotations, LaTeX around numbers and list items' numbers."""
    text = ascii_signs(_SUPERSCRIPT.sub(_raised, text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def _ascii_digit(character: str) -> str:
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return _MARKS.get(character, character)


def _conclusions(text: str) -> Iterator[str]:
    """Passages whose first number is the answer, the most authoritative first."""
    yield from (_line(text, mark.end()) for mark in _MARK.finditer(text) if _NUMBER.match(text, mark.end()))
    yield from reversed(_BOXED.findall(text))
    end = len(text)  # of what was not yet looked at: after a later cue there was no number
    for cue in reversed(list(_CUE.finditer(text))):
        if cue["verb"]:
            stop = _SENTENCE_END.search(text, cue.end(), end)
            yield text[cue.end() : stop.start() if stop else end]
        elif number := _NUMBER.match(text, cue.end()):
            step = _CALCULATION.match(text, number.end())
            if not step or step[0].endswith("="):  # before a calculation, it is the label of the whole solution
                yield _line(text, cue.end())
        end = cue.start()


def _line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


def _first_number(passage: str) -> Decimal | None:
    """The first number of a passage; of a calculation that begins with it, the result."""
    number = _NUMBER.search(passage)
    while number and (step := _CALCULATION.match(passage, number.end())):
        equals = passage.find("=", number.end())
        result = _NUMBER.search(passage, equals + 1) if equals >= 0 else None
        if result is None:
            break
        further = _CALCULATION.match(passage, result.end())
        if step[0].endswith("=") and further and "=" not in passage[result.end() :]:
            break  # "15 = 5 * 3" gives the result first
        number = result
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
        number = Decimal(_without_groups(match["decimal"]))
    return number.copy_negate() if "-" in match["sign"] else number  # -number would be cut to 28 digits


def _without_groups(spelled: str) -> str:
    """A number's digits with a point as decimal mark."""
    comma, point = spelled.rfind(","), spelled.rfind(".")
    if comma >= 0 and point >= 0:
        group = "," if point > comma else "."
        return spelled.replace(group, "").replace(",", ".")
    if comma >= 0:
        return spelled.replace(",", "" if _GROUPED.fullmatch(spelled) else ".")
    return spelled.replace(".", "") if spelled.count(".") > 1 else spelled


def _raised(match: re.Match[str]) -> str:
    return "10^" + unicodedata.normalize("NFKC", match[1]).replace("\u2212", "-")


def _written_out(match: re.Match[str]) -> str:
    """Scientific notation as digits."""
    return f"{Decimal(match['mantissa'] or 1).scaleb(int(match['e'] or match['power'])):f}"


def _fraction(match: re.Match[str]) -> str:
    return f"{match[1].strip()}/{match[2].strip()}"


_REWRITES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"<<[^<>\n]*>>"), ""),
    (re.compile(r"(?<=[0-9])[ ]*(?=\\[dt]?frac)"), " "),
    (re.compile(r"\\[dt]?frac\{([^{}]*)\}[ ]?\{([^{}]*)\}"), _fraction),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}"), r"\1"),
    # 1{,}234, 1,\!234, 1\,234 and 1 234 with a space that does not break.
    (re.compile(r"(?<=[0-9])(?:\{,\}|,?\\[,!;:]|[\u00a0\u2009\u202f])(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\(?:times|cdot|div)\b"), "*"),
    (re.compile(r"\\[()\[\] ]"), " "),
    (
        re.compile(
            r"""(?<![0-9A-Za-z.,^])
            (?:(?P<mantissa>[0-9]{1,40}(?:\.[0-9]{1,40})?)
               (?:e(?P<e>[-+]?[0-9]{1,3})(?![0-9A-Za-z])|[ ]?[x×*·][ ]?(?=10\^)))?
            (?(e)|10\^[{(]?(?P<power>[-+]?[0-9]{1,3})(?![0-9])[)}]?)""",
            re.VERBOSE | re.IGNORECASE,
        ),
        _written_out,
    ),
    (re.compile(r"(?im)^([ \t#>*]*)(?:step [0-9]+|[1-9])[.):]+\**[ \t]+(?=[*\"'(]*[a-z])"), r"\1"),
)
_MARKS = dict.fromkeys("．٫", ".") | dict.fromkeys("，٬", ",")
# Full-width signs; dashes of all lengths, the mathematical, small, superscript and subscript ones.
_SIGNS = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(map(ord, "‐‑‒–—―−﹣⁻₋"), "-")

_SUPERSCRIPT = re.compile("(?<![0-9])10([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3})")

# A minus sign belongs to the number that it touches unless it touches something on its left too: "10-3" ends with 3.
# Digits in a name ("x2"), and those of an ordinal ("2nd"), are no number.
_GROUPS = r"[1-9][0-9]{0,2}(?:,[0-9]{2,3}){0,20},[0-9]{3}(?![0-9])"
_NUMBER_PATTERN = rf"""
    (?<![0-9A-Za-z])(?<![0-9]\.)
    (?P<sign>(?:(?<!\))(?:-?[$€£¥₹]{{1,3}}[ ]?-?|-))?)
    (?:
        (?:(?P<units>[0-9]{{1,9}})[ ])?(?P<top>[0-9]{{1,9}})/(?P<bottom>[1-9][0-9]{{0,8}})(?![0-9/]|\.[0-9])
        |
        (?P<decimal>
            {_GROUPS}(?:\.[0-9]++)?
            | [0-9]{{1,3}}(?:\.[0-9]{{3}}){{1,20}},[0-9]++
            | [0-9]{{1,3}}(?:\.[0-9]{{3}}){{2,20}}(?![0-9]|\.[0-9])
            | (?<![0-9],)[0-9]++,[0-9]++(?![.,][0-9])
            | [0-9]++(?:\.[0-9]++)?
            | (?<!\.)\.[0-9]++
        )
    )
    (?!(?:st|nd|rd|th)\b)
"""
_DRESS = r"[\s*_`\"'()\[\]~≈]*+"

_GROUPED = re.compile(_GROUPS)
_NUMBER = re.compile(_NUMBER_PATTERN, re.VERBOSE)
_BOLD = re.compile(rf"(?<![0-9A-Za-z)])\*\*{_NUMBER_PATTERN}[^*]*\*\*", re.VERBOSE)
_RESULT = re.compile(rf"={_DRESS}{_NUMBER_PATTERN}", re.VERBOSE)
# After the first number of a calculation: a unit of a few words perhaps, then an operator and a number, or "=".
_CALCULATION = re.compile(r"%[ ]of\b[^=\n]{0,80}=|[ %)]*+(?:[A-Za-z]++ ){0,3}(?:[-+*/x×÷·^] *+[-($€£¥₹ ]*[0-9]|=)")

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
_SENTENCE_END = re.compile(r"\n|[.!?][*_\"')\]}]*(?:\s|$)")
