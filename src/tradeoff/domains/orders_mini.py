"""Orders-mini: the order in a customer's message, as one line in a house's own form: `kettles; three; Friday`.

Source: ours. A message orders some of one thing for a day, in one of twenty patterns and between remarks that decide
nothing. The task is easy on purpose: prompts are short, the words are copied, and a model of 135M parameters learns the
form from some dozens of examples, so that a study of minutes sees what each method gains.

Scores: `f1` is the words that the response and the line have in common (token F1, as in SQuAD), so that a sentence with
the right words earns a part; `exact` is 1 where the line is right. A message belongs to the test split when a hash of
its text says so (one in four).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tradeoff.domains import Domain, Example, Metric, Outcome, Size, Split
from tradeoff.domains._overlap import TokenF1
from tradeoff.draws import generated


@dataclass(frozen=True)
class OrdersMini(Domain):
    """Three fields of a message as one line.

    Attributes:
        max_new_tokens: Generation limit. A right line has about 7 tokens; a model that is not tuned writes a sentence.
    """

    kind = "orders_mini"
    size = Size(train=5_000, test=1_000, prompt=60, response=7)
    version = "1.0"
    metrics = (Metric("f1"), Metric("exact"))
    max_new_tokens: Annotated[int, Field(ge=1)] = 64

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`."""
        return generated(self.kind, count, lambda index, seen: _example(split, index, seed, seen))

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`."""
        found, f1, _ = TokenF1(ignore_case=True).judge(response, [answer["line"]])
        line = " ".join(response.split()).casefold()
        return Outcome({"f1": f1, "exact": float(line == answer["line"].casefold())}, invalid=found is None)


_ASKS = "Write the order as one line: item; number; day"
_ITEMS = (
    *("kettle", "lamp", "desk", "jacket", "tent", "bike", "camera", "printer", "blender", "backpack", "drill", "chair"),
    *("mirror", "pillow", "rug", "ladder", "bucket", "fan", "clock", "helmet"),
)
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PATTERNS = (
    "Please send us {number} {item}s by {day}.",
    "We need {number} {item}s on {day}.",
    "Could you bring {number} {item}s on {day}?",
    "I would like {number} {item}s for {day}.",
    "For {day} we want {number} {item}s.",
    "By {day} there should be {number} {item}s here.",
    "Can {number} {item}s be here by {day}?",
    "On {day} I will pick up {number} {item}s.",
    "Put {number} {item}s aside for me until {day}.",
    "My team takes {number} {item}s, on {day} if you can.",
    "It is {number} {item}s that we need, and {day} is the day.",
    "Let us have {number} {item}s before {day}.",
    "I order {number} {item}s to be sent on {day}.",
    "Is {day} possible for {number} {item}s?",
    "The school asks for {number} {item}s on {day}.",
    "We are short of {number} {item}s and open on {day}.",
    "Make it {number} {item}s for {day}, please.",
    "Our shop sells {number} {item}s every week; the next are due on {day}.",
    "{day} would be good for the {number} {item}s.",
    "Add {number} {item}s to what you bring on {day}.",
)
_BEFORE = (
    "",
    "",
    "Hello. ",
    "Good morning. ",
    "It is me again. ",
    "As we said on the phone: ",
    "Sorry for the short notice. ",
)
_AFTER = (
    "",
    "",
    " Thank you.",
    " The price is fine.",
    " We pay as always.",
    " The color does not matter.",
    " Call me if not.",
)
_TRIES = 1000


def _example(split: Split, index: int, seed: int, seen: set[str]) -> Example:
    """Draws the example of that index; `seen` holds the messages before it and gets this one."""
    rng = random.Random(f"{seed}-{split}-{index}")
    for _ in range(_TRIES):
        item, number, day = rng.choice(_ITEMS), rng.choice(_NUMBERS), rng.choice(_DAYS)
        text = rng.choice(_BEFORE) + rng.choice(_PATTERNS) + rng.choice(_AFTER)
        message = text.format(item=item, number=number, day=day)
        if message in seen or _split(message) != split:
            continue
        seen.add(message)
        line = f"{item}s; {number}; {day}"
        return Example(
            id=f"{split}-{index:05d}",
            messages=({"role": "user", "content": f"{message}\n{_ASKS}"},),
            response=line,
            answer={"line": line},
        )
    raise ValueError(f"{OrdersMini.kind} has no new message; ask for at most {index} examples")


def _split(message: str) -> Split:
    """The split that a message belongs to in every draw."""
    return "test" if hashlib.sha256(message.encode()).digest()[0] % 4 == 0 else "train"
