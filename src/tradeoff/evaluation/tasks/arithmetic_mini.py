"""Arithmetic: word problems of one or two steps whose answer is a small positive integer.

Source: ours, in the manner of GSM8K (Cobbe et al. 2021, arXiv 2110.14168) but easy enough for models of about 100M
parameters. Exact match of the number that the response gives as its answer. Half the items take one step, half two.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import datasets

from tradeoff.numbers import ascii_signs

MOST_ITEMS = 2000

NAMES = ("Anna", "Ben", "Chloe", "David", "Emma", "Felix", "Grace", "Hugo", "Ivy", "Jack", "Kate", "Leo", "Mia", "Noah")
THINGS = ("apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "marbles", "pencils", "shells", "stickers")


class Template(NamedTuple):
    """One kind of problem. (Not a dataclass: lm-eval runs this file without registering it as a module.)

    Attributes:
        text: The question, with a name, a thing and the numbers a, b and c.
        ranges: Lowest and highest value of each number; draws whose answer is no positive integer are dropped.
        answer: The numbers' answer.
    """

    text: str
    ranges: tuple[tuple[int, int], ...]
    answer: Callable[..., float]


# fmt: off
ONE_STEP = (
    Template("{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have now?",
             ((2, 10), (2, 5)), lambda a, b: a + b),
    Template("{name} finds {a} {thing} in the morning and {b} {thing} in the evening. How many {thing} is that in all?",
             ((2, 10), (2, 5)), lambda a, b: a + b),
    Template("There are {a} children in a room and {b} children come in. How many children are in the room now?",
             ((3, 12), (2, 6)), lambda a, b: a + b),
    Template("{name} has {a} {thing} and gives {b} of them to a friend. How many {thing} are left?",
             ((5, 10), (2, 4)), lambda a, b: a - b),
    Template("{name} has {a} {thing} and loses {b} of them. How many {thing} does {name} have left?",
             ((5, 10), (2, 4)), lambda a, b: a - b),
    Template("{name} has ${a} and spends ${b} on lunch. How many dollars does {name} have left?",
             ((6, 12), (2, 5)), lambda a, b: a - b),
    Template("{name} has {a} bags with {b} {thing} in each bag. How many {thing} does {name} have?",
             ((2, 6), (2, 6)), lambda a, b: a * b),
    Template("One ticket costs ${a}. How many dollars do {b} tickets cost?",
             ((2, 10), (2, 5)), lambda a, b: a * b),
    Template("{name} reads {a} pages every day. How many pages does {name} read in {b} days?",
             ((2, 10), (2, 5)), lambda a, b: a * b),
    Template("{name} shares {a} {thing} equally among {b} friends. How many {thing} does each friend get?",
             ((4, 20), (2, 4)), lambda a, b: a / b),
)
TWO_STEPS = (
    Template("{name} has {a} red {thing}, {b} blue {thing} and {c} green {thing}. "
             "How many {thing} does {name} have in total?",
             ((2, 5), (2, 4), (2, 3)), lambda a, b, c: a + b + c),
    Template("{name} reads {a} pages on Monday, {b} pages on Tuesday and {c} pages on Friday. "
             "How many pages does {name} read in total?",
             ((2, 5), (2, 4), (2, 3)), lambda a, b, c: a + b + c),
    Template("A cake costs ${a}, a tea costs ${b} and a juice costs ${c}. How many dollars do they cost in total?",
             ((2, 5), (2, 4), (2, 3)), lambda a, b, c: a + b + c),
    Template("{name} has {a} {thing}, buys {b} more and then buys another {c}. How many {thing} does {name} have now?",
             ((2, 6), (2, 4), (2, 4)), lambda a, b, c: a + b + c),
    Template("{name} has {a} {thing}. {name} buys {b} more. Then {name} loses {c}. "
             "How many {thing} does {name} have now?",
             ((3, 6), (2, 4), (2, 3)), lambda a, b, c: a + b - c),
    Template("There are {a} people on a bus. First {b} people get off. Then {c} people get on. "
             "How many people are on the bus now?",
             ((5, 10), (2, 4), (2, 4)), lambda a, b, c: a - b + c),
    Template("{name} has {a} {thing}. {name} gives {b} to Sam. Then {name} gives {c} to Tom. "
             "How many {thing} are left?",
             ((7, 12), (2, 3), (2, 3)), lambda a, b, c: a - b - c),
    Template("{name} has {a} boxes with {b} {thing} in each box. {name} finds {c} more {thing}. "
             "How many {thing} does {name} have in total?",
             ((2, 5), (2, 5), (2, 4)), lambda a, b, c: a * b + c),
    Template("{name} buys {a} bags with {b} {thing} in each bag. {name} gives away {c} {thing}. "
             "How many {thing} are left?",
             ((2, 5), (3, 5), (2, 4)), lambda a, b, c: a * b - c),
    Template("{name} has {a} red {thing} and {b} blue {thing} and puts them in {c} equal rows. "
             "How many {thing} are in each row?",
             ((2, 8), (2, 8), (2, 3)), lambda a, b, c: (a + b) / c),
)
# fmt: on
TEMPLATES = {1: ONE_STEP, 2: TWO_STEPS}

NUMBER = re.compile(r"(?<!\w)-?\$?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?")
# What may be the left side of an equation, and the sign where it is one: a point ends it unless a digit follows.
LEFT_SIDE = re.compile(r"(?:[^\n.=]|\.[0-9])*+(=?)")


def items(count: int | None = 64, seed: int = 0, **_: Any) -> dict[str, datasets.Dataset]:
    """The test split: `count` problems, or all, of one and two steps in turn, the first of any longer draw.

    Raises:
        ValueError: more than `MOST_ITEMS` are asked for.
    """
    count = MOST_ITEMS if count is None else count
    if count > MOST_ITEMS:
        raise ValueError(f"arithmetic_mini has at most {MOST_ITEMS} items, not {count}")
    problems = {steps: _problems(steps, random.Random(f"arithmetic_mini {seed} {steps}")) for steps in TEMPLATES}
    rows = [next(problems[1 + index % 2]) for index in range(count)]
    return {"test": datasets.Dataset.from_list(rows)}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Exact match of the number read; `invalid` is 1 where there is none."""
    number = read_number(results[0])
    return {"exact_match": float(number == doc["answer"]), "invalid": float(number is None)}


def read_number(response: str) -> Decimal | None:
    """The first number after the last "answer", or else the last number; None without any.

    An equation after "answer" counts by its right side: "Answer: 3 + 4 = 7" is read as 7. Digits and signs of every
    script are read.
    """
    response = ascii_signs(response)
    _, _, conclusion = response.lower().rpartition("answer")
    right_sides = LEFT_SIDE.sub(lambda found: "" if found[1] else found[0], conclusion)
    stated = NUMBER.findall(right_sides) if "answer" in response.lower() else []
    number = next(iter(stated or NUMBER.findall(response)[-1:]), None)
    return None if number is None else Decimal(re.sub("[$,]", "", number))


def _problems(steps: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Distinct problems of that many steps, without end; each round takes every template once."""
    seen: set[str] = set()
    while True:
        for template in rng.sample(TEMPLATES[steps], len(TEMPLATES[steps])):
            numbers = [rng.randint(*bounds) for bounds in template.ranges]
            answer = template.answer(*numbers)
            names = {"name": rng.choice(NAMES), "thing": rng.choice(THINGS)}
            question = template.text.format(**names, **dict(zip("abc", numbers, strict=False)))
            if answer > 0 and answer == int(answer) and question not in seen:
                seen.add(question)
                yield {"question": question, "steps": steps, "answer": int(answer)}
