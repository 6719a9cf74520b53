"""Domains: what a model is fine-tuned on. One file a kind, found by its name.

A domain is a frozen dataclass whose fields are its options; a study's entry under `domains:` is one of them, such as
`tickets: {domain: custom, train: train.jsonl, test: test.jsonl, scorer: exact}`. A domain turns a split into examples
and says how a response is scored. Everything else (chat template, tokens, generation, tables) is shared. To add one,
drop `domains/<kind>.py` with a subclass of `Domain` and list it in a study.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter

from tradeoff import plugins
from tradeoff.hub import HubTable

ALIASES = {"jsonl": "custom"}  # names by which a kind was known

P_RIGHT = "p_right"  # the probability of the right response among a domain's labels, a graded accuracy
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
        all_turns: The assistant's earlier turns are supervised too.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    answer: Mapping[str, Any]
    all_turns: bool = False


@dataclass(frozen=True)
class Metric:
    """A mean over items, 0 to 1, higher is better.

    Attributes:
        name: Column value in the tables.
        balanced_by: Key of `Example.answer` whose values count the same whatever their number of items (balanced
            accuracy is accuracy balanced by the label); None weighs items equally.
        f1_of: Key of `Example.answer` that holds the right class, for the mean over classes of F1; the class that a
            response names is `Outcome.label`.
    """

    name: str
    balanced_by: str | None = None
    f1_of: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What one response earned.

    Attributes:
        values: One value in [0, 1] for each metric of the domain, and values of further metrics that some items alone
            have (`repaired_lab`).
        invalid: No answer could be read from the response (it then earns 0).
        label: The class that the response names, where a metric counts classes.
    """

    values: Mapping[str, float]
    invalid: bool = False
    label: str | None = None


@dataclass(frozen=True)
class Size:
    """About how large a domain is, for planning before its data are at hand.

    Attributes:
        train: Training examples that there are.
        test: Test items that there are.
        prompt: Tokens of a prompt, on average.
        response: Tokens of a response, on average.
    """

    train: int
    test: int
    prompt: int
    response: int


@dataclass(frozen=True)
class Domain(ABC):
    """A domain's data and its scoring.

    Attributes:
        kind: The module's name.
        version: Raised with any change to examples or scoring, a string such as "1.0".
        metrics: Metrics that every item has; the first is the domain score. `P_RIGHT` is computed from likelihoods, and
            `score` leaves it out.
        labels: All responses that there are, for a domain that has `P_RIGHT`.
        max_new_tokens: Generation limit that a correct response of this domain stays under; a class variable, or a
            field where a study may set it.
        excludes: General benchmarks that are no measure of general ability for a model tuned on this domain, since they
            test the domain; they keep their columns and leave the general score.
        size: For planning alone.
        runs_code: Scoring runs what the model wrote, which a study has to allow.
    """

    kind: ClassVar[str]
    version: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    excludes: ClassVar[frozenset[str]] = frozenset()
    size: ClassVar[Size] = Size(train=1000, test=200, prompt=200, response=100)

    # Not annotated, so that a subclass may make it a field or a property.
    max_new_tokens = 0
    runs_code = False

    @property
    def labels(self) -> tuple[str, ...]:
        """See the class."""
        return ()

    @property
    def taught_by(self) -> str | None:
        """Name of the model that writes the training responses, which `examples` then leaves for it to write."""
        return None

    def data(self, split: Split) -> tuple[str, ...]:
        """What a split is made of: names in `config/datasets.tsv` or of `hub_tables`, or paths of a person's files."""
        return ()

    def hub_tables(self) -> tuple[HubTable, ...]:
        """Data sets of the hub that a person named."""
        return ()

    def scored_by(self) -> tuple[str, ...]:
        """Paths of a person's own files that `score` runs."""
        return ()

    @abstractmethod
    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """Returns `count` examples, the same for the same arguments on every machine; all there are if it is None.

        No question of one split occurs in the other, whatever the counts. `count` examples of a longer draw are its
        first `count`.

        Args:
            split: Which of the two.
            count: How many.
            seed: Of the draw.
            files: Where each file of `data(split)` lies.

        Raises:
            ValueError: the domain cannot give that many, or a file is not what it should be; the message says what is
                wrong and where.
        """

    @abstractmethod
    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """Scores a model's response. Never raises, whatever the text, but for a fault in a person's own scorer."""


def p_right(nll: Sequence[float], right: int = 0) -> float:
    """The probability of one of some responses among all of them, from their nats."""
    return 1 / sum(math.exp(min(nll[right] - n, 700.0)) for n in nll)


def names() -> list[str]:
    """All kinds of domain."""
    return plugins.names(sys.modules[__name__])


def kind(name: str) -> type[Domain]:
    """The class of a kind of domain.

    Raises:
        KeyError: there is none.
    """
    name = ALIASES.get(name, name)
    cls = plugins.find(sys.modules[__name__], name, Domain)  # type: ignore[type-abstract]
    assert cls.kind == name, f"domains/{name}.py defines a domain of kind {cls.kind}"
    return cls


def build(spec: Mapping[str, Any]) -> Domain:
    """A domain from its validated spec `{"domain": kind, options}`."""
    options = dict(spec)
    return TypeAdapter(kind(options.pop("domain"))).validate_python(options)
