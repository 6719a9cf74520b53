"""Instruction following: short requests with one or two constraints that a program can check.

Source: the constraints and their checkers are IFEval's (Zhou et al. 2023, arXiv 2311.07911) as lm-eval ships them; the
requests and wordings are ours, cut to what fits 48 new tokens. A prompt scores when all its constraints hold (strict:
the response as it is; loose: also without asterisks, first line or last line). Left out are the checkers that need
NLTK's sentence or word data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import datasets

from tradeoff.evaluation.ifeval_checks import pooled_mean, process_results

__all__ = ["items", "pooled_mean", "process_results"]

MOST_ITEMS = 2000

REQUESTS = (
    "In one short sentence, describe a sunny day.",
    "In one short sentence, say what a dog likes to do.",
    "In one short sentence, say why people sleep.",
    "In one short sentence, say what rain is good for.",
    "In one short sentence, describe your favorite meal.",
    "In one short sentence, say why friends matter.",
    "Tell me one fact about the moon.",
    "Tell me one fact about cats.",
    "Tell me one fact about trees.",
    "Tell me one fact about water.",
    "Give me one tip for saving money.",
    "Give me one tip for learning a language.",
    "Give me one tip for staying healthy.",
    "Give me one tip for a long car trip.",
    "Write a short birthday wish.",
    "Write a short thank-you note to a teacher.",
    "Write a short note to a neighbor about a lost cat.",
    "Write a short message to invite a friend to lunch.",
    "Write one line of a song about summer.",
    "Write a slogan for a bakery.",
    "Name a good breakfast and say why you like it.",
    "Name a sport and say why it is fun.",
    "Name a hobby to try this winter.",
    "Name something to bring to a picnic.",
)
LISTS = (
    "What should I bring to a picnic?",
    "Which animals live on a farm?",
    "What can I cook for dinner?",
    "How can I save water at home?",
    "Which fruits are sweet?",
    "What should I pack for the beach?",
    "Which sports are played with a ball?",
    "What helps with a cold?",
    "Which colors are in a rainbow?",
    "What can children do on a rainy day?",
    "Which tools does a gardener need?",
    "What makes a good friend?",
)
QUESTIONS = (
    "Is the sun hot?",
    "Is ice warm?",
    "Can a fish swim?",
    "Can a dog read a book?",
    "Is a week longer than a day?",
    "Is a mouse bigger than a horse?",
    "Do birds lay eggs?",
    "Do trees have leaves?",
    "Will it rain tomorrow?",
    "Is tea better than coffee?",
    "Should children learn to cook?",
    "Is Paris in France?",
)
THREE_ANSWERS = 'Answer with one of these sentences: "My answer is yes." or "My answer is no." or "My answer is maybe."'


class Constraint(NamedTuple):
    """One kind of instruction. (Not a dataclass: lm-eval runs this file without registering it as a module.)

    Attributes:
        id: Key of lm-eval's instruction registry.
        fixes: Aspects of the response that it settles; two constraints of a prompt share none.
        text: The instruction, with the fields of `options`.
        options: Arguments of the checker, one of which is drawn.
        requests: What it can be asked of; constraints joined in a prompt have the same.
    """

    id: str
    fixes: str
    text: str
    options: tuple[dict[str, Any], ...] = ({},)
    requests: tuple[str, ...] = REQUESTS


def _each(name: str, *values: Any, **fixed: Any) -> tuple[dict[str, Any], ...]:
    """Options that differ in one argument."""
    return tuple({name: value, **fixed} for value in values)


MORE = {"relation": "at least"}
FEWER = {"relation": "less than"}
RARER = {"let_relation": "less than"}
OFTEN = {"let_relation": "at least"}
# fmt: off
CONSTRAINTS = (
    Constraint("keywords:existence", "words", 'Use the words "{keywords[0]}" and "{keywords[1]}".',
               _each("keywords", ["happy", "time"], ["good", "day"], ["people", "world"], ["always", "water"])),
    Constraint("keywords:frequency", "words", 'Use the word "{keyword}" at least {frequency} times.',
               _each("keyword", "good", "very", "new", frequency=2, **MORE)),
    Constraint("keywords:forbidden_words", "words", 'Do not use the word "{forbidden_words[0]}".',
               _each("forbidden_words", ["the"], ["is"], ["and"], ["very"])),
    Constraint("keywords:letter_frequency", "words", 'Use the letter "{letter}" at least {let_frequency} times.',
               _each("letter", "b", "g", "m", let_frequency=4, **OFTEN)),
    Constraint("keywords:letter_frequency", "words", 'Use the letter "{letter}" less than {let_frequency} times.',
               _each("letter", "d", "h", "s", let_frequency=4, **RARER)),
    Constraint("length_constraints:number_words", "length", "Use less than {num_words} words.",
               _each("num_words", 10, 15, 20, **FEWER)),
    Constraint("length_constraints:number_words", "length", "Use at least {num_words} words.",
               _each("num_words", 8, 12, 16, **MORE)),
    Constraint("change_case:english_lowercase", "case", "Use only lowercase letters, no capital letters."),
    Constraint("change_case:english_capital", "case", "WRITE EVERYTHING IN CAPITAL LETTERS."),
    Constraint("punctuation:no_comma", "commas", "Do not use any commas."),
    Constraint("startend:quotation", "shape", "Wrap your whole response in double quotation marks."),
    Constraint("detectable_format:title", "shape", "Start with a title in double angle brackets, like <<My Title>>."),
    Constraint("detectable_format:number_bullet_lists", "shape",
               'Answer with exactly {num_bullets} bullet points, each on a line that starts with "- ".',
               _each("num_bullets", 2, 3), requests=LISTS),
    Constraint("detectable_format:number_highlighted_sections", "shape",
               "Highlight at least {num_highlights} word with asterisks, like *word*.", _each("num_highlights", 1)),
    Constraint("detectable_content:number_placeholders", "shape",
               "Use at least {num_placeholders} placeholder in square brackets, like [name].",
               _each("num_placeholders", 1)),
    Constraint("detectable_content:postscript", "ending case",
               "At the end, add a postscript that starts with {postscript_marker}", _each("postscript_marker", "P.S.")),
    Constraint("startend:end_checker", "ending case", 'End your response with the exact words "{end_phrase}"',
               _each("end_phrase", "That is all.", "Have a nice day!", "Any other questions?")),
    Constraint("detectable_format:constrained_response", "words", THREE_ANSWERS, requests=QUESTIONS),
)
# fmt: on


def items(count: int | None = 64, seed: int = 0, **_: Any) -> dict[str, datasets.Dataset]:
    """The test split: `count` prompts, or all, with the fields of google/IFEval, the first of any longer draw.

    Raises:
        ValueError: more than `MOST_ITEMS` are asked for.
    """
    count = MOST_ITEMS if count is None else count
    if count > MOST_ITEMS:
        raise ValueError(f"ifeval_mini has at most {MOST_ITEMS} items, not {count}")
    rows: dict[str, dict[str, Any]] = {}
    draws = _draws(random.Random(f"ifeval_mini {seed}"))
    while len(rows) < count:
        request, drawn = next(draws)
        prompt = " ".join([request, *(constraint.text.format(**kwargs) for constraint, kwargs in drawn)])
        rows.setdefault(
            prompt,
            {
                "key": len(rows),
                "prompt": prompt,
                "instruction_id_list": [constraint.id for constraint, _ in drawn],
                "kwargs": [kwargs for _, kwargs in drawn],
            },
        )
    return {"test": datasets.Dataset.from_list(list(rows.values()))}


def _draws(rng: random.Random) -> Iterator[tuple[str, list[tuple[Constraint, dict[str, Any]]]]]:
    """Requests with one or two constraints, without end; in each round every constraint is first once."""
    while True:
        for first in rng.sample(CONSTRAINTS, len(CONSTRAINTS)):
            chosen = [first]
            others = [other for other in CONSTRAINTS if _fit(first, other)]
            if others and rng.random() < 0.5:
                chosen.append(rng.choice(others))
            yield rng.choice(first.requests), [(constraint, rng.choice(constraint.options)) for constraint in chosen]


def _fit(first: Constraint, second: Constraint) -> bool:
    """Whether both can be asked of one response."""
    return first.requests is second.requests and set(first.fixes.split()).isdisjoint(second.fixes.split())
