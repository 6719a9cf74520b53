"""Graded scorers of free text: how much a response has in common with the answer, or with the best of several.

| scorer    | measure                                                                                     |
|-----------|---------------------------------------------------------------------------------------------|
| `f1`      | F1 of the words, as of SQuAD (arXiv 1606.05250): without case, punctuation, and a, an, the  |
| `rouge_l` | F-measure of the longest common subsequence of words (package `rouge-score`)                |
| `chrf`    | chrF2, F-measure of runs of one to six characters (package `sacrebleu`), as a share of 1    |

What is compared is what a response says, as of the other scorers, and of it the first `LONGEST_TEXT` characters. In
scripts that put no space between words each character is a word.
"""

from __future__ import annotations

import string
import unicodedata
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import regex  # type: ignore[import-untyped]

from tradeoff.domains import Metric
from tradeoff.domains._scorers import LONGEST_TEXT, SPACELESS, Scorer, Verdict, fold, said, texts

# Both packages call something so; an attribute of that name would be a domain's own to `tradeoff.reach`.
SCORE = attrgetter("score")


@dataclass(frozen=True)
class Overlap(Scorer[list[str]]):
    """What a response has in common with the best of the answers."""

    ignore_case: bool
    least = 0.0

    def wanted(self, given: Any) -> list[str]:
        """A text, or a list of texts that are all right."""
        return texts(given)

    def default(self, response: str) -> list[str] | None:
        """What the response says."""
        text = said(response)
        return [text] if text else None

    def judge(self, response: str, wanted: list[str]) -> Verdict:
        """The best overlap; an empty response has none."""
        text = said(response)[:LONGEST_TEXT]
        if not text:
            return Verdict(None, 0.0)
        folded = [fold(answer[:LONGEST_TEXT], self.ignore_case) for answer in wanted]
        return Verdict(text, min(1.0, max(self.overlap(fold(text, self.ignore_case), answer) for answer in folded)))

    @abstractmethod
    def overlap(self, text: str, answer: str) -> float:
        """Of two texts, 0 to 1."""


@dataclass(frozen=True)
class TokenF1(Overlap):
    """F1 of the words that two texts have in common."""

    metrics = (Metric("f1"),)

    def overlap(self, text: str, answer: str) -> float:
        """Equal texts without words have all in common."""
        ours, theirs = _bare_words(text), _bare_words(answer)
        if not ours or not theirs:
            return float(ours == theirs)
        common = sum((Counter(ours) & Counter(theirs)).values())
        return 2 * common / (len(ours) + len(theirs))


@dataclass(frozen=True)
class RougeL(Overlap):
    """ROUGE-L, F-measure, without stemming."""

    metrics = (Metric("rouge_l"),)

    def overlap(self, text: str, answer: str) -> float:
        """Of words of letters and digits of any script."""
        return float(SCORE(_rouge())(answer, text)["rougeL"].fmeasure)


@dataclass(frozen=True)
class ChrF(Overlap):
    """ChrF2 of one sentence."""

    metrics = (Metric("chrf"),)

    def overlap(self, text: str, answer: str) -> float:
        """White space is left out."""
        return float(SCORE(_chrf().sentence_score(text, [answer]))) / 100


class Words:
    """Words of letters and digits, in the form of `rouge-score`'s tokenizers."""

    def tokenize(self, text: str) -> list[str]:
        """For ASCII, what the package's own tokenizer finds, but for the case."""
        return _WORD.findall(text)


def _bare_words(text: str) -> list[str]:
    """Words without punctuation and English articles."""
    kept = "".join(c for c in text if unicodedata.category(c)[0] != "P" and c not in string.punctuation)
    return [word for word in _SPLIT.findall(kept) if word not in ("a", "an", "the")]


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    return RougeScorer(["rougeL"], tokenizer=Words())


@cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


_WORD = regex.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+")
_SPLIT = regex.compile(rf"[{SPACELESS}]|[^\s{SPACELESS}]+")
