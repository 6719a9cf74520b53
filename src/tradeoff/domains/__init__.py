"""Domains: what a model is fine-tuned on. One file a domain, found by its name.

A domain turns a split into examples and says how a response is scored. Everything else (chat template, tokens,
generation, tables) is shared. To add one, drop `domains/<name>.py` with a subclass of `Domain` whose `name` is
`<name>`; a study then lists it under `domains:`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tradeoff import plugins

Split = Literal["train", "test"]
Message = dict[str, str]


@dataclass(frozen=True)
class Example:
    """One question and the response to learn.

    Attributes:
        id: Unique within the domain, stable for a seed (`train-00007`).
        messages: Chat turns `{"role", "content"}` that end with a user turn.
        response: The assistant's turn, supervised in training; without end-of-turn token.
        answer: What `Domain.score` needs, as plain JSON values.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A mean over items, 0 to 1, higher is better.

    Attributes:
        name: Column value in the tables.
        balanced_by: Key of `Example.answer` whose values count the same whatever their number of items (balanced
            accuracy is accuracy balanced by the label); None weighs items equally.
    """

    name: str
    balanced_by: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What one response earned.

    Attributes:
        values: One value in [0, 1] for each metric of the domain.
        invalid: No answer could be read from the response (it then earns 0).
    """

    values: Mapping[str, float]
    invalid: bool = False


class Domain(ABC):
    """A domain's data and its scoring.

    Attributes:
        name: The module's name.
        version: Raised with any change to data or scoring, a string such as "1.0".
        metrics: The metrics of `score`; the first is the domain score.
        max_new_tokens: Generation limit that a correct response of this domain stays under.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    max_new_tokens: ClassVar[int]

    @abstractmethod
    def examples(self, split: Split, count: int, seed: int) -> list[Example]:
        """Returns `count` examples, the same for the same arguments on every machine.

        No question of one split occurs in the other, whatever the counts. `count` examples of a longer draw are its
        first `count`.

        Raises:
            ValueError: the domain cannot give that many; the message says how many it can.
        """

    @abstractmethod
    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """Scores a model's response. Never raises, whatever the text."""


def names() -> list[str]:
    """Names of all domains."""
    return plugins.names(sys.modules[__name__])


def version(name: str) -> str:
    """A domain's version."""
    return get(name).version


def get(name: str) -> Domain:
    """The domain of that name.

    Raises:
        KeyError: there is none.
    """
    cls = plugins.find(sys.modules[__name__], name, Domain)  # type: ignore[type-abstract]
    domain = cls()
    assert domain.name == name, f"domains/{name}.py defines a domain called {domain.name}"
    return domain
