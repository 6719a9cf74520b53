"""Draws: from data that are there, and of data that are made one after another."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def draw(pool: Sequence[T], count: int | None, key: str, source: str | Path) -> list[T]:
    """The first `count` of the pool, or all, in an order that `key` alone decides.

    Raises:
        ValueError: the pool has fewer; the message names the source.
    """
    if count is not None and count > len(pool):
        raise ValueError(
            f"{source}: gives {len(pool)} examples, and {count} are asked for; ask for at most {len(pool)}"
        )
    shuffled = list(pool)
    random.Random(key).shuffle(shuffled)
    return shuffled[:count]


def generated(kind: str, count: int | None, make: Callable[[int, set[str]], T]) -> list[T]:
    """`count` examples of a domain that is generated, the first of any longer draw.

    Args:
        kind: Of the domain, for the message.
        count: How many.
        make: From an index and the questions before it, to which it adds its own, an example.

    Raises:
        ValueError: all are asked for, and there is no end of them.
    """
    if count is None:
        raise ValueError(f"{kind} is generated without end; give a number")
    seen: set[str] = set()
    return [make(index, seen) for index in range(count)]
