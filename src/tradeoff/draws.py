"""A draw from data that are there, as opposed to generated."""

from __future__ import annotations

import random
from collections.abc import Sequence
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
