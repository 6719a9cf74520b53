"""What two splits of a person's data have in common, by their prompts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from tradeoff.domains import Example


def apart(train: Iterable[Example], test: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Training examples whose prompt is no test item's, and those whose prompt is, however it is spaced or composed."""
    tested = {prompt_of(example) for example in test}
    kept: list[Example] = []
    dropped: list[Example] = []
    for example in train:
        (dropped if prompt_of(example) in tested else kept).append(example)
    return kept, dropped


def repeated(examples: Iterable[Example]) -> list[Example]:
    """Examples whose prompt an earlier one has."""
    seen: set[tuple[str, ...]] = set()
    again = []
    for example in examples:
        if (prompt := prompt_of(example)) in seen:
            again.append(example)
        seen.add(prompt)
    return again


def prompt_of(example: Example) -> tuple[str, ...]:
    """An example's turns in the form in which they are compared: composed, and with single spaces."""
    texts = (unicodedata.normalize("NFC", " ".join(message["content"].split())) for message in example.messages)
    return tuple(f"{message['role']}: {text}" for message, text in zip(example.messages, texts, strict=True))
