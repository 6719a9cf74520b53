"""How one replicate is drawn: other items, and other seeds of the same trainings. Derivations: `docs/statistics.md`.

Items are drawn with replacement from those that there are and two pseudo-items, each of the weight of an average item.
A pseudo-item is right or wrong by the throw of a coin, of each point and in each replicate anew. For one score that is
Laplace's (x + 1) / (n + 2); for a paired difference it is the adjustment of Agresti and Min (2005, Statistics in
Medicine 24:729), who add half an item to each cell of the 2 x 2 table. Without it the bootstrap of items on which two
models agree has no width, although nothing was learnt of the next item.

Seeds are kept, not drawn: two or three of them are too few to draw from. A point's mean over its S seeds gets a normal
error of variance s^2 / S, where s^2 is the variance between trainings, a component of variance (Searle, Casella and
McCulloch 1992): the mean square between seeds at one learning rate, pooled over methods, less the part of it that the
items have. That mean square has few degrees of freedom, so each replicate draws it anew by its chi-square distribution
(generalised fiducial inference, Hannig 2009): with a known variance of items this is Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SEED = 20509
PSEUDO = 2  # items


class Spread(NamedTuple):
    """The variance between trainings at one learning rate that differ in their seed alone.

    Attributes:
        square: Mean square between the seeds of a method; of one training, what is assumed where none has two.
        items: The part of it that other items would have made.
        freedom: Its degrees of freedom; 0 where it is assumed.
    """

    square: float
    items: float
    freedom: int

    @property
    def variance(self) -> float:
        """Of one training."""
        return max(0.0, self.square - self.items)

    def drawn(self, count: int, *words: Hashable) -> Array:
        """The variance as each replicate draws it, [count]; constant where it is assumed."""
        if not self.freedom:
            return np.full(count, self.variance)
        chi_square = generator("spread", *words).chisquare(self.freedom, count)
        return np.maximum(self.square * self.freedom / chi_square - self.items, 0.0)


def draws(what: str, n: int, count: int) -> Array:
    """How often each of n things is drawn, [1 + count, n]; the first row has everything once.

    The draws hang on the name and the number of the things alone, so that all tables draw the same items.
    """
    drawn = generator(what).integers(0, n, (count, n))
    numbered = (drawn + n * np.arange(count)[:, None]).ravel()
    return np.vstack([np.ones((1, n)), np.bincount(numbered, minlength=count * n).reshape(count, n)])


@lru_cache(maxsize=4)
def item_draws(name: str, n: int, count: int) -> Array:
    """How often each item of a benchmark is drawn, and after them the pseudo-items, [1 + count, n + PSEUDO]."""
    drawn = draws(name, n + PSEUDO, count)
    drawn[0, n:] = 0
    drawn.flags.writeable = False
    return drawn


def coins(name: str, point: Hashable, count: int) -> Array:
    """What a point earns on the pseudo-items of a benchmark, 0 or 1, [1 + count, PSEUDO]."""
    return generator("coin", name, point).integers(0, 2, (1 + count, PSEUDO)).astype(float)


def item_means(drawn: Array, values: Array, classes: Sequence[Array], pseudo: Array | None) -> Array:
    """The metric of every run in every replicate, [1 + count, runs]; where no weight was drawn, the estimate stands.

    A mean over classes is taken over those that occur in a replicate, each weighted by its own items there.

    Args:
        drawn: As of `item_draws`.
        values: [items, runs].
        classes: Of each class, the items' weights, [items, runs]; of a metric without classes, one.
        pseudo: What each run earns on the pseudo-items that were drawn, summed, [1 + count, runs]; None for a metric
            without bounds, of which no coin can be thrown.
    """
    items, extra = drawn[:, : len(values)], drawn[:, len(values) :].sum(axis=1, keepdims=True)
    carry = np.any([(weights > 0).any(axis=1) for weights in classes], axis=0).sum()
    summed, occur = np.zeros((len(drawn), values.shape[1])), np.zeros((len(drawn), values.shape[1]))
    for weights in classes:
        total, earned = _product(items, weights), _product(items, weights * values)
        if pseudo is not None:
            average = weights.sum(axis=0) / carry
            total, earned = total + average * extra, earned + average * pseudo
        summed += np.divide(earned, total, out=np.zeros_like(total), where=total > 0)
        occur += total > 0
    means = np.divide(summed, occur, out=np.full_like(summed, math.nan), where=occur > 0)
    return np.where(occur > 0, means, means[0])


def spread(means: Array, seeds: Sequence[Sequence[int]], assumed: float) -> Spread:
    """The variance between trainings at one learning rate.

    Args:
        means: As of `item_means`.
        seeds: Of each point at this rate, its runs.
        assumed: The variance where no point has a second seed.
    """
    several = [list(runs) for runs in seeds if len(runs) > 1]
    freedom = sum(len(runs) - 1 for runs in several)
    if not freedom:
        return Spread(assumed, 0.0, 0)
    moved = means[1:] - means[0]
    squares = [means[0, runs].var(ddof=1) * (len(runs) - 1) for runs in several]
    items = [moved[:, runs].var(axis=1, ddof=1).mean() * (len(runs) - 1) for runs in several]
    return Spread(float(sum(squares)) / freedom, float(sum(items)) / freedom, freedom)


def generator(*words: Hashable) -> np.random.Generator:
    """Random numbers that hang on some words alone, and so neither on the order nor on the number of the points."""
    return np.random.default_rng([SEED, crc32(",".join(map(str, words)).encode())])


def _product(counts: Array, columns: Array) -> Array:
    """counts @ columns, where equal columns give equal results to the last bit, wherever they stand.

    The order of the samples then decides nothing.
    """
    each = [column.tobytes() for column in np.ascontiguousarray(columns.T)]
    unique = {column: number for number, column in enumerate(sorted(set(each)))}
    distinct = np.frombuffer(b"".join(unique)).reshape(len(unique), -1)
    return (counts @ distinct.T)[:, [unique[column] for column in each]]
