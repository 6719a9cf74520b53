"""What a verdict that is short of evidence would take: items of the domain, general items, and seeds.

A bound with critical value q is on the right side of a margin m in 90 of 100 studies if (q + 1.28) e <= m, with the
standard error e^2 = v n / N + s^2 / S of N items and S seeds: v is the variance now, of n items, s^2 that between
trainings. Hence N = n v / (m^2 / (q + 1.28)^2 - s^2 / S), and where that is not above 0 no number of items is enough,
but more seeds are. A verdict needs several bounds, which are all on the right side in about 80 of 100 (simulated).
Margins are the estimates', except that those of a loss are taken to be at least half of the bound: what is planned is
a study that answers if the loss is not just at the bound, which no study can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, t

from tradeoff.tables.bootstrap import Array
from tradeoff.tables.replicates import Replicates
from tradeoff.tables.verdicts import CLOSE, LEVEL, Rules, Verdict, lower_bounds

POWER = 0.9  # share of studies in which a bound is on the right side
MOST_SEEDS = 10
MOST_ITEMS = 100  # times those that there are: beyond, a verdict is out of reach


class Needs(NamedTuple):
    """What would settle a verdict.

    Attributes:
        point: What would be taken, if the estimates are right.
        items: Factor on the domain's items.
        general: Factor on the items of each general benchmark.
        seeds: Of each run that may be within the bound.
        by_items: Whether more items alone would do.
    """

    point: int
    items: float
    general: float
    seeds: int
    by_items: bool


class _Margin(NamedTuple):
    """A bound that has to be on the right side.

    Attributes:
        margin: How far away the estimate is.
        critical: Standard errors from the estimate to the bound, were all variances known.
        of_items: Variance by the items that there are.
        of_seeds: Variance by one seed.
        alike: Points at this rate that would have more seeds, by which that variance is known.
    """

    margin: float
    critical: float
    of_items: float
    of_seeds: float
    alike: int


def needs(of: Replicates, found: Verdict, bound: float, rules: Rules) -> Needs | None:
    """What would make a verdict a recommendation; None where the estimates do not hold one within reach.

    Args:
        of: The study.
        found: Its verdict for the bound.
        bound: On the loss of general score.
        rules: The study's.
    """
    gain, change = of.domain_change[0], of.general_change[0]
    able = [p for p in found.rivals if gain[p] > CLOSE and change[p] >= -bound]
    if not able:
        return None
    point = max(able, key=lambda p: (gain[p].round(9), -p))
    domain, general = list(_domain(of, found, point, rules)), list(_general(of, found, point, bound))
    now = max(len(of.runs[p]) for p in found.rivals)
    sizes: list[tuple[float, int, float, float]] = []
    for seeds in range(now, MOST_SEEDS + 1):
        factors = tuple(max((_factor(each, seeds) for each in side), default=1.0) for side in (domain, general))
        if max(factors) <= MOST_ITEMS:
            items, of_general = (max(1.0, factor) for factor in factors)
            sizes.append((seeds * (items + of_general), seeds, items, of_general))
    if not sizes:
        return None
    _, seeds, items, of_general = min(sizes)
    return Needs(point, items, of_general, seeds, any(size[1] == now for size in sizes))


def _factor(of: _Margin, seeds: int) -> float:
    """On the items that there are; infinite where no number is enough."""
    freedom = of.alike * (seeds - 1)
    student = t.ppf(1 - LEVEL / 2, freedom) / norm.ppf(1 - LEVEL / 2) if freedom else 1.0
    room = (of.margin / (of.critical + norm.ppf(POWER))) ** 2 - student**2 * of.of_seeds / seeds
    return float(of.of_items / room) if of.margin > 0 and room > 0 else math.inf


def _domain(of: Replicates, found: Verdict, point: int, rules: Rules) -> Iterator[_Margin]:
    """The point's gain is above 0, and no rival that gains less by the estimates gains more than the tolerance."""
    estimate, drawn = of.domain_change[0], of.item_changes[0]
    variances, alike = [spread.variance for spread in of.spreads[0]], _alike(of, found, point)
    critical = lower_bounds(drawn[:, list(found.rivals)]).critical
    yield _Margin(estimate[point], critical, drawn[1:, point].var(), variances[point], alike)
    others = [p for p in found.rivals if p != point]
    apart = drawn[:, others] - drawn[:, [point]]
    bounds = lower_bounds(apart)
    for rival, error in zip(others, bounds.error, strict=True):
        if estimate[rival] <= estimate[point]:  # others have to be shown to lose more than the bound
            margin = rules.tolerance + estimate[point] - estimate[rival]
            yield _Margin(margin, bounds.critical, error**2, variances[point] + variances[rival], alike)


def _general(of: Replicates, found: Verdict, point: int, bound: float) -> Iterator[_Margin]:
    """The point's loss is within the bound, and that of rivals which gain more by the estimates is not."""
    gain, change, drawn = of.domain_change[0], of.general_change[0], of.item_changes[1]
    variances = [spread.variance for spread in of.spreads[1]]
    margin = bound + max(min(0.0, change[point]), -bound / 2)
    critical = lower_bounds(drawn[:, list(found.rivals)]).critical
    yield _Margin(margin, critical, drawn[1:, point].var(), variances[point], _alike(of, found, point))
    for rival in found.rivals:
        if gain[rival] > gain[point]:
            margin = max(-bound - change[rival], bound / 2)
            own = float(norm.ppf(1 - LEVEL / 2))
            yield _Margin(margin, own, drawn[1:, rival].var(), variances[rival], _alike(of, found, rival))


def _alike(of: Replicates, found: Verdict, point: int) -> int:
    """Rivals at a point's rate."""
    return sum(of.points[p].learning_rate == of.points[point].learning_rate for p in found.rivals)


def in_words(of: Replicates, found: Verdict, wanted: Needs, updates: Mapping[str, Mapping[str, Any]]) -> str:
    """What to add to a study, and what that costs by its own times.

    Args:
        of: The study.
        found: Its verdict.
        wanted: What it would take.
        updates: For each run_id of a run, a mapping that has the training's "seconds".
    """
    items = len(of.outcomes[of.primary[of.domain]])
    parts = []
    if wanted.items > 1:
        parts.append(f"{math.ceil(wanted.items * items)} domain items (now {items})")
    if wanted.general > 1:
        parts.append(f"{math.ceil(10 * wanted.general) / 10:g} times the general items")
    lacking = {p: wanted.seeds - len(of.runs[p]) for p in found.rivals if len(of.runs[p]) < wanted.seeds}
    if lacking:
        parts.append(f"{wanted.seeds} seeds of each run that may be within the bound")
    if not parts:
        return ""
    limit = "Seeds are the limit, not items. " if lacking and not wanted.by_items else ""
    runs = sum(map(len, of.runs))
    answers = (
        (runs + sum(lacking.values())) / runs * _answers(of, wanted.items, wanted.general) / _answers(of, 1.0, 1.0)
    )
    return (
        f"{limit}It would be settled for {of.name(wanted.point)}, in about 80 % of such studies, by "
        f"{', '.join(parts)}. "
        f"That is {_trainings(of, lacking, updates)}{answers:.1f} times the answers; those that are there are kept."
    )


def _answers(of: Replicates, items: float, general: float) -> float:
    """Of one run, with these factors on its items."""
    sizes = {name: len(of.outcomes[of.primary[name]]) for name in (of.domain, *of.scored)}
    return sum(n * (items if name == of.domain else general) for name, n in sizes.items())


def _trainings(of: Replicates, lacking: Mapping[int, int], updates: Mapping[str, Mapping[str, Any]]) -> str:
    """Runs that are lacking, and how long they train; a derived run has its source's training, which counts once."""
    if not lacking:
        return ""
    times = {}
    for p, more in lacking.items():
        known = [float(updates[run_id]["seconds"]) for run_id in of.runs[p] if "seconds" in updates.get(run_id, {})]
        times[of.points[p].learning_rate, *known] = more * sum(known) / max(1, len(known))
    seconds = sum(times.values())
    long = f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{math.ceil(seconds / 60)} minutes"
    return (
        f"{sum(lacking.values())} runs more"
        + (f", which train for {long} by this study's times" if seconds else "")
        + ", and "
    )


# Before anything runs


class Seen(NamedTuple):
    """The smallest numbers that a study can tell from none, in 90 of 100 studies, as shares of a score.

    Attributes:
        gain: Of a run on the domain.
        difference: Between two runs on the domain.
        loss: Bound on the loss of general score, within which a run that loses nothing is shown to be.
    """

    gain: float
    difference: float
    loss: float


def seen(
    points: int, seeds: int, items: int, general: Sequence[int], sd: float, differ: float, weights: Sequence[float] = ()
) -> Seen:
    """What a study can see.

    Args:
        points: Methods times learning rates.
        seeds: Of each.
        items: Of the domain.
        general: Of each scored benchmark.
        sd: Standard deviation between trainings.
        differ: Share of items on which two models differ in being right, which is the variance of a paired difference.
        weights: Of the scored benchmarks in the general score; alike without.
    """
    normal = np.random.default_rng(0).standard_normal((4001, points + 1))
    critical = lower_bounds(_paired(normal)).critical + norm.ppf(POWER)
    counts = weights or [1.0] * len(general)
    of_general = sum(differ / n * w**2 for n, w in zip(general, counts, strict=True)) / sum(counts) ** 2
    return Seen(
        critical * math.sqrt(differ / items + sd**2 / seeds),
        critical * math.sqrt(differ / items + 2 * sd**2 / seeds),
        critical * math.sqrt(of_general + sd**2 / seeds),
    )


def _paired(normal: Array) -> Array:
    """Differences of normal numbers to the first of them, which are correlated as comparisons with one base are."""
    return normal[:, 1:] - normal[:, :1]
