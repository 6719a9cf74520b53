"""How an answer is read from a response, and when it is right.

A response that has a line `Answer: ...` says what stands there, on the last such line or, where nothing stands there,
below it; another response says all of its text. Markdown around the word and around the answer is looked over. Each
scorer takes its answer from that, save `contains` and `regex`, which search the whole response.

Texts are compared as a reader sees them: in Unicode's composed form (NFC), and of full-width and half-width characters,
as East Asian keyboards give them, in their common form. Other compatible characters stay apart: 10² is not 102.
"""

from __future__ import annotations

import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import regex  # type: ignore[import-untyped]  # the syntax of `re`, scripts, and a limit of time

from tradeoff.domains import Metric
from tradeoff.errors import shown
from tradeoff.numbers import lenient_answer
from tradeoff.section import nearest

W = TypeVar("W", str, list[str])

# Of a domain whose answers are classes; the answer holds the right one under "label".
CLASS_METRICS = (
    Metric("balanced_accuracy", balanced_by="label"),
    Metric("accuracy"),
    Metric("macro_f1", f1_of="label"),
)


def answer_line(response: str) -> str | None:
    """What follows the last `Answer:` that begins a line: the rest of the line or, if that is empty, all below it."""
    response = common(response)
    marks = list(_ANSWER.finditer(response))
    if not marks:
        return None
    line, _, below = response[marks[-1].end() :].partition("\n")
    if marks[-1]["open"]:  # "**Answer: Paris**" is bold to the end
        line = line.rstrip().removesuffix(marks[-1]["bold"])
    return (line if line.strip() else below).strip()


def said(response: str) -> str:
    """What follows the last `Answer:`, or else the whole response."""
    line = answer_line(response)
    return common(response).strip() if line is None else line


def common(text: str) -> str:
    """A text in the form in which it is compared."""
    return unicodedata.normalize("NFC", text.translate(_WIDTHS))


class Verdict(NamedTuple):
    """What a response is worth.

    Attributes:
        read: What was read from it, None if nothing could be.
        right: Whether that is right or, of a graded scorer, how right it is, 0 to 1.
        others: Values of the metrics after the first, where they are not the same.
    """

    read: str | None
    right: float
    others: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scorer(ABC, Generic[W]):
    """A way to read and compare answers.

    Attributes:
        key: Of `Example.answer`, under which the wanted answer stands.
        metrics: What is measured, the score first.
        least: What a person's own response must earn by its own answer.
        slow: Such a check takes long, so that only what is drawn for testing is checked.
    """

    key: ClassVar[str] = "answer"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("accuracy"),)
    least: ClassVar[float] = 1.0
    slow: ClassVar[bool] = False

    @abstractmethod
    def wanted(self, given: Any) -> W:
        """The answer to compare with, from the value that a person gave.

        Raises:
            ValueError: it does not fit; the message says what it should be.
        """

    @abstractmethod
    def default(self, response: str) -> W | None:
        """The answer to compare with where none was given, None if the right response does not say one."""

    @abstractmethod
    def judge(self, response: str, wanted: W) -> Verdict:
        """Never raises, whatever the response."""


@dataclass(frozen=True)
class Exact(Scorer[str]):
    """What the response says is the answer, white space around it aside."""

    ignore_case: bool

    def wanted(self, given: Any) -> str:
        """A text."""
        return _text(given)

    def default(self, response: str) -> str | None:
        """What the response says."""
        return _forms(said(response))[-1] or None

    def judge(self, response: str, wanted: str) -> Verdict:
        """Compares with and without Markdown around what the response says."""
        forms = [fold(form, self.ignore_case) for form in _forms(said(response))]
        return Verdict(said(response) or None, bool(forms[0]) and fold(wanted, self.ignore_case) in forms)


@dataclass(frozen=True)
class Number(Scorer[str]):
    """The number that the response says is at most `tolerance` times the answer away from the answer."""

    tolerance: float

    def wanted(self, given: Any) -> str:
        """A number, or a text that holds one."""
        number = lenient_answer(given) if isinstance(given, str) else given
        if not isinstance(number, Decimal):
            raise ValueError(f"'answer' should be a number, got {kind_of(given)}; write one such as 12.5")
        return str(number)

    def default(self, response: str) -> str | None:
        """The number that the response says."""
        number = self._read(response)
        return None if number is None else str(number)

    def judge(self, response: str, wanted: str) -> Verdict:
        """Bounds included."""
        number = self._read(response)
        if number is None:
            return Verdict(None, False)
        truth = Decimal(wanted)
        if not self.tolerance:  # apart, since sums are rounded to 28 digits
            return Verdict(str(number), number == truth)
        try:
            margin = abs(truth) * Decimal(str(self.tolerance))
            return Verdict(str(number), truth - margin <= number <= truth + margin)
        except DecimalException:  # the truth is so large that its bounds are no numbers
            return Verdict(str(number), number == truth)

    def _read(self, response: str) -> Decimal | None:
        line = answer_line(response)
        # The word stays: the number right after it counts before a later one.
        return lenient_answer(response if line is None else f"Answer: {line}")


@dataclass(frozen=True)
class Choice(Scorer[str]):
    """The first choice that the response names, as a whole word and the longest where several begin, is the answer.

    Where a word ends depends on its script. Letters and digits beside each other are one word; scripts that put no
    space between words, such as Chinese, Japanese and Thai, end any other word and may go on with no sign of it, and a
    Korean word may have endings.
    """

    key = "label"
    metrics = CLASS_METRICS
    choices: tuple[str, ...]
    ignore_case: bool

    def wanted(self, given: Any) -> str:
        """One of the choices, in its one spelling."""
        text = _text(given)
        for choice in self.choices:
            if fold(choice, self.ignore_case) == fold(text, self.ignore_case):
                return choice
        raise ValueError(f"'answer' is {shown(text)}, which is no choice; {nearest(text, list(self.choices))}")

    def default(self, response: str) -> str | None:
        """The choice that the response names."""
        return next(iter(self.named(said(response))), None)

    def judge(self, response: str, wanted: str) -> Verdict:
        """What was read is the choice."""
        choice = self.default(response)
        return Verdict(choice, choice == wanted)

    def named(self, text: str) -> list[str]:
        """Every choice that the text names, in order and as often."""
        pattern, choices = _alternatives(self.choices, self.ignore_case)
        return [choices[found.lastindex - 1] for found in pattern.finditer(common(text))]


@dataclass(frozen=True)
class Contains(Scorer[list[str]]):
    """The response holds every one of the answer's texts, anywhere."""

    ignore_case: bool

    def wanted(self, given: Any) -> list[str]:
        """A text or a list of them."""
        return texts(given)

    def default(self, response: str) -> list[str] | None:
        """What the response says."""
        text = _forms(said(response))[-1]
        return [text] if text else None

    def judge(self, response: str, wanted: list[str]) -> Verdict:
        """An empty response holds no answer."""
        text = response.strip()
        folded = fold(text, self.ignore_case)
        return Verdict(text or None, bool(text) and all(fold(part, self.ignore_case) in folded for part in wanted))


@dataclass(frozen=True)
class Regex(Scorer[list[str]]):
    """Every one of the answer's patterns is found in the response.

    A pattern may need time that doubles with every character, so a search sees the first `LONGEST_TEXT` characters and
    stops after `MOST_SECONDS`; no answer was read then.
    """

    ignore_case: bool

    def wanted(self, given: Any) -> list[str]:
        """A pattern or a list of them, in the syntax of Python's `re`; composed, but of its own width."""
        patterns = [unicodedata.normalize("NFC", pattern) for pattern in texts(given)]
        for pattern in patterns:
            if len(pattern) > LONGEST_PATTERN or math.prod(map(int, _LEAST_COUNTS.findall(pattern))) > MOST_REPEATS:
                raise ValueError(
                    f"'answer' is a pattern of over {LONGEST_PATTERN} characters or {MOST_REPEATS} repeats; simplify it"
                )
            try:
                _compiled(pattern, self.ignore_case)
            except Exception as error:  # the package raises more than its own kind
                raise ValueError(f"'answer' is no regular expression ({error}); mend {shown(pattern)}") from None
        return patterns

    def default(self, response: str) -> list[str]:
        """No pattern: nothing is right."""
        return []

    def judge(self, response: str, wanted: list[str]) -> Verdict:
        """What was read is the part that was searched."""
        text = unicodedata.normalize("NFC", response.strip()[:LONGEST_TEXT])
        try:
            found = [_compiled(p, self.ignore_case).search(text, timeout=MOST_SECONDS) is not None for p in wanted]
        except (TimeoutError, MemoryError):
            return Verdict(None, False)
        return Verdict(text or None, bool(text and found) and all(found))


# Full-width and half-width characters to their common form.
_WIDTHS = {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (0x3000, *range(0xFF01, 0xFFEF))
    if unicodedata.decomposition(chr(code)).startswith(("<wide>", "<narrow>"))
}

# Scripts that put no space between words.
SPACELESS = "".join(
    rf"\p{{Script_Extensions={script}}}"
    for script in ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar")
)

LONGEST_TEXT = 10_000
LONGEST_PATTERN = 1000
MOST_REPEATS = 10_000
MOST_SECONDS = 1.0

# At the start of a line or of a list's item: Answer:, **Answer**:, **Answer:** or, closed later, **Answer:
# A repetition marked with a second + gives nothing back, so that long white space takes no long time.
_ANSWER = re.compile(
    r"""^(?:[ \t>#]|[-*+][ \t])*
    (?P<bold>[*_]*)answer[ \t]*+(?:(?P=bold)[ \t]*+[:：]|[:：](?P=bold)|(?P<open>[:：]))""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)

# Of `a{3}` or `a{3,9}`; the compiler writes nested ones out.
_LEAST_COUNTS = re.compile(r"\{\s*([1-9][0-9]*)")

_KINDS = {
    str: "text",
    Decimal: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


def kind_of(value: Any) -> str:
    """What a value is, in words, one that JSON lacks by its type."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"'answer' should be text, got {kind_of(given)}; put it in quotes")
    if not given.strip():
        raise ValueError("'answer' is empty; write it, or leave the key out")
    return given.strip()


def texts(given: Any) -> list[str]:
    """An answer that is a text, or a list of at least one; white space at their ends counts.

    Raises:
        ValueError: it is not.
    """
    found = given if isinstance(given, list) else [given]
    if not found or not all(isinstance(text, str) for text in found):
        wrong = next((kind_of(text) for text in found if not isinstance(text, str)), "an empty list")
        raise ValueError(f"'answer' should be text or a list of texts, got {wrong}; put each in quotes")
    if not all(text.strip() for text in found):
        raise ValueError("'answer' is empty; write it, or leave the key out")
    return found


def _forms(text: str) -> list[str]:
    """A text, and without each Markdown that encloses all of it. Underscores stay: __init__ is a word of its own."""
    forms = [text]
    for mark in ("**", "*", "`"):
        inner = forms[-1].removeprefix(mark).removesuffix(mark)
        if len(inner) == len(forms[-1]) - 2 * len(mark) and inner.strip() and mark not in inner:
            forms.append(inner.strip())
    return forms


def fold(text: str, ignore_case: bool) -> str:
    """A text in the form in which it is compared, of one case if asked for."""
    text = common(text)
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


@cache
def _alternatives(choices: Sequence[str], ignore_case: bool) -> tuple[Any, list[str]]:
    """A pattern with a group for each choice, and the choices in the groups' order: the longest is tried first."""
    ordered = sorted(choices, key=len, reverse=True)
    either = "|".join(f"({_whole_word(common(choice))})" for choice in ordered)
    return regex.compile(either, regex.VERSION1 | (regex.IGNORECASE if ignore_case else 0)), ordered


def _whole_word(word: str) -> str:
    """A pattern of a word that neither begins nor ends inside another; a mark belongs to the letter before it.

    A single letter counts in its own case, lest the article "a" be choice A, or else where nothing but it is said.
    """
    other = rf"{SPACELESS}\p{{Hangul}}"
    before, after = rf"(?<![[\w\p{{M}}]--[{other}]])", rf"(?![[\w--[{other}]]\p{{M}}])"
    if regex.match(rf"[{SPACELESS}]", word):
        before = ""
    elif regex.match(r"\p{Hangul}", word):
        before = r"(?<!\p{Hangul})"
    if regex.search(rf"[{other}]\p{{M}}*\Z", word):
        after = r"(?!\p{M})"
    spelled = regex.escape(word, special_only=True)
    if len(word) == 1 and word.isalpha():
        spelled = rf"(?:(?-i:{spelled})|(?<=\A\W{{0,9}}){spelled}(?=\W{{0,9}}\Z))"
    return before + spelled + after


@cache
def _compiled(pattern: str, ignore_case: bool) -> Any:
    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
