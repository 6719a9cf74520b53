"""Verdicts: functions of replicates, a bound on the loss and a tolerance. Error rates: `docs/statistics.md`.

An array of replicates is [1 + replicates, points]; row 0 is the estimate. Bounds that hold for several points or pairs
at once are centre -+ critical value x standard error, of the replicates; the critical value is the 95 % quantile of the
largest standardised deviation (max-T, Romano and Wolf 2005, Econometrica 73:1237). The centre is the replicates' mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tradeoff.tables.bootstrap import Array

LEVEL = 0.05  # each kind of call is wrong in at most this share of studies
ENDS = (0.025, 0.975)
CLOSE = 1e-9  # numbers no further apart are equal: sums in another order differ in the last digits
BEST, RECOMMENDED, SAFE = "best", "recommended", "a safe choice"
NOT_ENOUGH, NOTHING, UNSHOWN = "not enough evidence", "nothing qualifies", "cannot be shown"
TAKE = (BEST, RECOMMENDED, SAFE)  # verdicts that offer a point


class Rules(NamedTuple):
    """What a study asks of its verdicts.

    Attributes:
        tolerance: Gains that differ by no more are as good as equal; a score from 0 to 1.
        one_seed: Whether a point may be offered where the spread between trainings is assumed and not measured.
    """

    tolerance: float = 0.05
    one_seed: bool = False


class Bounds(NamedTuple):
    """Some numbers judged at once.

    Attributes:
        centre: [numbers].
        error: Standard errors, [numbers].
        critical: How many of them a bound is away from the centre.
    """

    centre: Array
    error: Array
    critical: float

    @property
    def lower(self) -> Array:
        """Lower bounds."""
        return self.centre - self.critical * self.error

    @property
    def upper(self) -> Array:
        """Upper bounds."""
        return self.centre + self.critical * self.error


class Verdict(NamedTuple):
    """What follows for one bound on the loss; points are numbers of columns.

    Attributes:
        kind: One of the words above.
        point: What is offered; for want of evidence the best estimate, if there is one.
        regret: At most so much less does it gain than the best point within the bound; None where nothing is safe.
        rival: The point that decides the regret; None without one.
        equivalent: Other safe points whose regret is within the tolerance, in the order in which they are offered.
        safe: Points that are shown to gain, and to lose no more than the bound.
        rivals: Points that are not shown to lose more.
        gain: Lower bounds of the rivals' gains at once.
        change: Lower bounds of the rivals' general changes at once.
    """

    kind: str
    point: int | None
    regret: float | None
    rival: int | None
    equivalent: tuple[int, ...]
    safe: tuple[int, ...]
    rivals: tuple[int, ...]
    gain: Bounds
    change: Bounds


def lower_bounds(replicates: Array, level: float = LEVEL) -> Bounds:
    """Whose `lower` are below all numbers at once, but for that share of studies."""
    return _bounds(replicates, lambda t: (-t).max(axis=1, initial=0.0), level)


def upper_bounds(replicates: Array) -> Bounds:
    """Whose `upper` are above all numbers at once."""
    return _bounds(replicates, lambda t: t.max(axis=1, initial=0.0), LEVEL)


def intervals(replicates: Array) -> Bounds:
    """Whose `lower` and `upper` hold all numbers at once: the interval of a number that was chosen by the data."""
    return _bounds(replicates, lambda t: np.abs(t).max(axis=1, initial=0.0), LEVEL)


def verdict(
    gain: Array, change: Array, bound: float, rules: Rules, cost: Sequence[tuple[float, float]] | None = None
) -> Verdict:
    """Which point to take for a bound on the loss of general score.

    Multiple comparisons with the best (Edwards and Hsu 1983, JASA 78:965; Hsu 1984, Annals of Statistics 12:1136) among
    the points that may be within the bound, with an indifference zone (Bechhofer 1954). Points that are shown to lose
    more than the bound, by their own 95 % interval, are no rivals.

    Args:
        gain: On the domain, against the base, which is the first point.
        change: Of the general score, likewise.
        bound: Most loss that is accepted; 0 is none that data can show.
        rules: The study's.
        cost: Of each point, what is offered first among equals has least: (cost, learning rate).
    """
    rivals = [p for p in range(1, gain.shape[1]) if np.quantile(change[1:, p], ENDS[1]) >= -bound]
    gains, changes = lower_bounds(gain[:, rivals]), lower_bounds(change[:, rivals])
    shown = (gains.lower > 0) & (changes.lower >= -bound)
    safe = [p for p, is_so in zip(rivals, shown, strict=True) if is_so]
    found = Verdict(NOT_ENOUGH, None, None, None, (), tuple(safe), tuple(rivals), gains, changes)
    if bound <= 0:
        return found._replace(kind=UNSHOWN)
    if not safe:
        if all(np.quantile(gain[1:, p], ENDS[1]) <= rules.tolerance for p in rivals):
            return found._replace(kind=NOTHING)
        able = [p for p in rivals if gain[0, p] > CLOSE and change[0, p] >= -bound - CLOSE]
        return found._replace(point=max(able, key=lambda p: (gain[0, p].round(9), -p), default=None))
    regrets = regret(gain, safe, rivals)
    enough = [p for p in safe if regrets[p][0] <= rules.tolerance]
    if not enough:
        point = min(safe, key=lambda p: regrets[p][0])
        return found._replace(kind=SAFE, point=point, regret=regrets[point][0], rival=regrets[point][1])
    first, *others = sorted(enough, key=lambda p: (cost[p] if cost else (0.0, 0.0), regrets[p][0]))
    most, rival = regrets[first]
    # Of two equal points the one or the other is shown to be no worse in twice the level.
    best = regret(gain, [first], rivals, LEVEL / 2)[first][0] == 0
    kind = BEST if best else RECOMMENDED
    return found._replace(kind=kind, point=first, regret=most, rival=rival, equivalent=tuple(others))


def regret(
    gain: Array, points: Sequence[int], rivals: Sequence[int], level: float = LEVEL
) -> dict[int, tuple[float, int | None]]:
    """How much more than a point the best of the rivals gains at most, and which rival it may be.

    With 95 % confidence for all points at once: only comparisons with the true best decide, whichever it is, so that
    the critical value is that of all differences to one rival (Dunnett's), for each rival its own.

    Args:
        gain: [1 + replicates, points].
        points: About which something is said; all of them rivals.
        rivals: Those that may be the best.
        level: Share of studies in which what is said may be false.
    """
    found: dict[int, tuple[float, int | None]] = dict.fromkeys(points, (0.0, None))
    worst = dict.fromkeys(points, -np.inf)
    for rival in rivals if points else ():
        others = [p for p in rivals if p != rival]
        below = -lower_bounds(gain[:, others] - gain[:, [rival]], level).lower
        for p, most in zip(others, below, strict=True):
            if p in worst and most > worst[p]:
                worst[p], found[p] = most, (max(0.0, float(most)), rival)
    return found


def dominators(domain: Array, general: Array) -> list[int | None]:
    """Of each point, another that is shown to score more on both sides, the surest of them; None where there is none.

    All ordered pairs and both sides are judged at once: where no point has more of both than another, none is called
    dominated in 95 of 100 studies.
    """
    points = range(domain.shape[1])
    largest = np.zeros(len(domain) - 1)
    against = []
    for over in points:
        sides = [_standardised(side[:, [over]] - side) for side in (domain, general)]
        for _, _, deviations in sides:
            np.maximum(largest, (-deviations).max(axis=1), out=largest)
        against.append([(centre, error) for centre, error, _ in sides])
    critical = np.quantile(largest, 1 - LEVEL)
    least = np.array([np.min([centre - critical * error for centre, error in sides], axis=0) for sides in against])
    return [int(least[:, p].argmax()) if least[:, p].max() > 0 else None for p in points]


def _bounds(replicates: Array, largest: Callable[[Array], Array], level: float) -> Bounds:
    centre, error, deviations = _standardised(replicates)
    return Bounds(centre, error, float(np.quantile(largest(deviations), 1 - level)))


def _standardised(replicates: Array) -> tuple[Array, Array, Array]:
    """Centre and standard error, [numbers], and the replicates' deviations in standard errors."""
    drawn = replicates[1:]
    centre, error = drawn.mean(axis=0), drawn.std(axis=0)
    return centre, error, np.divide(drawn - centre, error, out=np.zeros_like(drawn), where=error > CLOSE)
