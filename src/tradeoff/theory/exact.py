"""Fine-tuning as exponential tilting, on models small enough to be solved exactly; arXiv 2509.20758.

A model is its next-token distributions in a number of contexts. A step of size lambda with a score r multiplies each by
exp(lambda r) and normalises. The code length of data P then changes by exactly

    dL(P) = -lambda E_P[r] + log E_q[exp(lambda r)],

summed over contexts as often as P visits them. Data are a domain, which gives the score, and general data, on whose
contexts a part of the tilt lands too. All is float64 in log space; nothing here needs a model library. Arrays carry
their axes: C domain contexts, G general contexts, V tokens. Lengths are nats per sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Leakage = Literal["strength", "share", "pooled"]
Reading = Literal["fixed", "recomputed", "sampled"]

MOST_STEPS = 100_000
HALVINGS = 200  # of a bisection; it stops at neighbouring numbers long before


@dataclass(frozen=True)
class Data:
    """A distribution of sequences, context by context.

    Attributes:
        visits_C: Expected number of times that a sequence comes through each context.
        token_CV: Distribution of the next token there.
    """

    visits_C: Array
    token_CV: Array


@dataclass(frozen=True)
class World:
    """A base model with the data it is tuned on and the data it may forget.

    Attributes:
        base_CV: The base's distributions in the domain's contexts; positive.
        domain: D2 of the paper.
        general_base_GV: The base's distributions in the general contexts; positive.
        general: D1 of the paper.
        leak_GC: A tilt by s_C in the domain's contexts tilts the general ones by leak_GC @ s_C.
    """

    base_CV: Array
    domain: Data
    general_base_GV: Array
    general: Data
    leak_GC: Array

    def leaking(self, leak: float, reading: Leakage) -> World:
        """The same world with another leak, from 0 (none) to 1.

        Args:
            leak: The share of the tilt that lands on general contexts.
            reading: "strength": each general context gets its partner's tilt times the leak. "share": it gets the
                whole, but general data come there in this share of cases alone, and else where nothing moves.
                "pooled": every general context gets the mean of all tilts times the leak.
        """
        general, domain = len(self.general_base_GV), len(self.base_CV)
        if reading == "pooled":
            return replace(self, leak_GC=np.full((general, domain), leak / domain))
        assert general == domain, "contexts are partners only where there are as many of both"
        if reading == "strength":
            return replace(self, leak_GC=leak * np.eye(domain))
        rarer = replace(self.general, visits_C=leak * self.general.visits_C)
        return replace(self, leak_GC=np.eye(domain), general=rarer)


@dataclass(frozen=True)
class Tree:
    """All sequences of `depth` tokens from an alphabet of `branching`; contexts are the inner nodes, level by level.

    Child j of context c is context c * branching + j + 1, so that context 0 is the empty prefix.
    """

    depth: int
    branching: int

    @property
    def contexts(self) -> int:
        """Number of inner nodes."""
        return sum(self.branching**level for level in range(self.depth))

    def visits(self, token_CV: Array) -> Array:
        """Probability of each context, [C]."""
        levels = [np.ones(1)]
        for level in range(self.depth - 1):
            levels.append((levels[-1][:, None] * self._of_level(token_CV, level)).ravel())
        return np.concatenate(levels)

    def sequences(self, token_CV: Array) -> Array:
        """Probability of each sequence in the order of its tokens, [branching ** depth]."""
        found = np.ones(1)
        for level in range(self.depth):
            found = (found[:, None] * self._of_level(token_CV, level)).ravel()
        return found

    def data(self, token_CV: Array) -> Data:
        """The sequences that these distributions write."""
        return Data(self.visits(token_CV), token_CV)

    def _of_level(self, token_CV: Array, level: int) -> Array:
        first = sum(self.branching**above for above in range(level))
        return token_CV[first : first + self.branching**level]


# How much each token of the domain counts, given the model's distributions and the domain: [C, V].
Weighting = Callable[[Array, Data], Array]


def sft(token_CV: Array, domain: Data) -> Array:
    """1."""
    return np.ones_like(token_CV)


def dft(token_CV: Array, domain: Data) -> Array:
    """p; arXiv 2508.05629."""
    return token_CV


def talr(token_CV: Array, domain: Data, floor: float = 0.01) -> Array:
    """max(p^(1 / tau), floor) with tau the domain's mean code length under the model; arXiv 2509.20758.

    The batch of this model is the whole domain, so that the median over sequences becomes their mean.
    """
    tau = code_length(domain, np.log(token_CV)) / float((domain.visits_C).sum())
    return np.maximum(token_CV ** (1 / tau), floor) if tau > 0 else np.ones_like(token_CV)


def mask(token_CV: Array, domain: Data, threshold: float = 0.1) -> Array:
    """1 where p is at least the threshold, else 0; arXiv 2601.09195."""
    return (token_CV >= threshold).astype(float)


WEIGHTINGS: Mapping[str, Weighting] = {"sft": sft, "talr": talr, "dft": dft, "mask": mask}


def score(domain: Data, token_CV: Array, weighting: Weighting = sft) -> Array:
    """Minus the gradient of the weighted code length by the logits, weights held fixed: [C, V].

    For a right token y this is weight(y) * (1[j = y] - q_j), in the mean over the right tokens of a context and times
    the visits to it.
    """
    weighted_CV = domain.token_CV * weighting(token_CV, domain)
    return domain.visits_C[:, None] * (weighted_CV - token_CV * weighted_CV.sum(axis=1, keepdims=True))


def tilt(log_CV: Array, score_CV: Array, step: float) -> Array:
    """log of q exp(step * r) / Z, [C, V]."""
    raised_CV = log_CV + step * score_CV
    return raised_CV - (_log_sum(raised_CV) - _log_sum(log_CV))[:, None]  # to the bit what it was where nothing tilts


def code_length(data: Data, log_CV: Array) -> float:
    """-E[log q], nats per sequence."""
    each_CV = np.where(data.token_CV > 0, data.token_CV * log_CV, 0.0)
    return -float((data.visits_C[:, None] * each_CV).sum())


def change(data: Data, log_CV: Array, score_CV: Array, step: float) -> float:
    """dL(P) of one step, by the identity."""
    linear_C = (data.token_CV * score_CV).sum(axis=1)
    raised_C = _log_sum(log_CV + step * score_CV) - _log_sum(log_CV)  # not of 0 alone, for an exact 0 where step is 0
    return float((data.visits_C * (raised_C - step * linear_C)).sum())


def cost(world: World, step: float, weighting: Weighting = sft) -> float:
    """dL(general) of one step from the base, nats per sequence."""
    score_GV = world.leak_GC @ score(world.domain, world.base_CV, weighting)
    return change(world.general, np.log(world.general_base_GV), score_GV, step)


@dataclass(frozen=True)
class Bounds:
    """dL(P) of one step, exactly and by what is known of the score alone; nats per sequence.

    log E_q exp(lambda (r - E_q r)) is at most lambda^2 range(r)^2 / 8 (Hoeffding's lemma), and at most
    Var_q(r) / b^2 (exp(lambda b) - 1 - lambda b) with b = max r - E_q r (Bennett); lambda^2 Var_q(r) / 2 is its second
    order, which is no bound.
    """

    exact: float
    hoeffding: float
    bennett: float
    second_order: float


def bounds(data: Data, log_CV: Array, score_CV: Array, step: float) -> Bounds:
    """One step's change of code length with its bounds."""
    token_CV = np.exp(log_CV)
    mean_C = (token_CV * score_CV).sum(axis=1)
    variance_C = (token_CV * (score_CV - mean_C[:, None]) ** 2).sum(axis=1)
    x_C = step * (score_CV.max(axis=1) - mean_C)
    # (exp x - 1 - x) / x^2, which loses all digits at a small x.
    shape_C = np.where(x_C > 1e-4, (np.expm1(x_C) - x_C) / np.maximum(x_C, 1e-4) ** 2, 0.5 + x_C / 6 + x_C**2 / 20)
    linear = -step * float((data.visits_C * ((data.token_CV - token_CV) * score_CV).sum(axis=1)).sum())
    return Bounds(
        change(data, log_CV, score_CV, step),
        _hoeffding(data, log_CV, score_CV, step),
        linear + step**2 * float((data.visits_C * variance_C * shape_C).sum()),
        linear + step**2 * float((data.visits_C * variance_C).sum()) / 2,
    )


def _hoeffding(data: Data, log_CV: Array, score_CV: Array, step: float) -> float:
    linear_C = ((data.token_CV - np.exp(log_CV)) * score_CV).sum(axis=1)
    return float((data.visits_C * (step**2 * np.ptp(score_CV, axis=1) ** 2 / 8 - step * linear_C)).sum())


@dataclass(frozen=True)
class Walk:
    """Steps from the base to a gain.

    Attributes:
        steps: Their number, of which the last may be a part, so that the gain is met exactly.
        gain: -dL(domain), nats per sequence.
        cost: dL(general), nats per sequence.
        bound: What the single-step bounds add up to (see `walk`).
    """

    steps: float
    gain: float
    cost: float
    bound: float


def walk(
    world: World,
    step: float,
    gain: float,
    weighting: Weighting = sft,
    reading: Reading = "recomputed",
    seed: int = 0,
    most: int = MOST_STEPS,
) -> Walk | None:
    """Steps of one size until the domain's code length has fallen by `gain`; None where it never does.

    The bound is the sum over steps of lambda (E_q r - E_P1 r) + lambda^2 range(r)^2 / 8 on general contexts, with q the
    model of that step: linear in the way and, for a fixed gain, with a second term in proportion to lambda.

    Args:
        world: Base and data.
        step: lambda.
        gain: D*, nats per sequence.
        weighting: What each token counts.
        reading: "fixed": the base's score in every step. "recomputed": each step's own. "sampled": each step's own,
            from one right token a context, drawn from the domain.
        seed: Of these draws.
        most: Steps after which it gives up.
    """
    draw = np.random.default_rng(seed)
    log_CV, log_GV = np.log(world.base_CV), np.log(world.general_base_GV)
    start, start_general = code_length(world.domain, log_CV), code_length(world.general, log_GV)
    score_CV = score(world.domain, world.base_CV, weighting)
    missing, bound = gain, 0.0
    for done in range(most):
        if reading != "fixed":
            domain = world.domain if reading == "recomputed" else _drawn(world.domain, draw)
            score_CV = score(domain, np.exp(log_CV), weighting)
        if not score_CV.any():
            return None
        score_GV = world.leak_GC @ score_CV
        gained = -change(world.domain, log_CV, score_CV, step)
        part = step if gained < missing else _part(world.domain, log_CV, score_CV, step, missing)
        bound += _hoeffding(world.general, log_GV, score_GV, part)
        log_CV, log_GV = tilt(log_CV, score_CV, part), tilt(log_GV, score_GV, part)
        missing -= gained
        if missing <= 0:
            cost = code_length(world.general, log_GV) - start_general
            return Walk(done + part / step, start - code_length(world.domain, log_CV), cost, bound)
    return None


def _drawn(domain: Data, draw: np.random.Generator) -> Data:
    """One right token for each context."""
    places_C = (domain.token_CV.cumsum(axis=1) < draw.random(len(domain.token_CV))[:, None]).sum(axis=1)
    places_C = np.minimum(places_C, domain.token_CV.shape[1] - 1)
    return replace(domain, token_CV=np.eye(domain.token_CV.shape[1])[places_C])


def largest_safe_step(world: World, budget: float, weighting: Weighting = sft) -> float:
    """The largest lambda of a single step with dL(general) within a budget; infinite where no step exceeds it.

    dL is convex in lambda and 0 at 0, so that all smaller steps are safe too.
    """
    score_GV = world.leak_GC @ score(world.domain, world.base_CV, weighting)
    visits_GV = world.general.visits_C[:, None] * world.general.token_CV
    if not (visits_GV * (score_GV.max(axis=1, keepdims=True) - score_GV)).sum() > 0:
        return math.inf  # the slope of the cost at large steps
    return _last(lambda step: cost(world, step, weighting) - budget)


def largest_safe_leak(
    world: World, step: float, budget: float, reading: Leakage = "strength", weighting: Weighting = sft
) -> float:
    """The largest leak from 0 to 1 with which one step costs at most a budget."""

    def excess(leak: float) -> float:
        return cost(world.leaking(leak, reading), step, weighting) - budget

    return 1.0 if excess(1.0) <= 0 else _last(excess, 1.0)


def _last(excess: Callable[[float], float], high: float = 1.0) -> float:
    """Where a convex function that is not positive at 0 last is not."""
    while excess(high) <= 0:
        high *= 2
    return _narrowed(lambda x: excess(x) <= 0, high)[0]


def _part(domain: Data, log_CV: Array, score_CV: Array, step: float, missing: float) -> float:
    """The least part of a step that gains what is missing; the gain is concave in the step, and 0 without one."""
    return _narrowed(lambda part: -change(domain, log_CV, score_CV, part) < missing, step)[1]


def _narrowed(holds: Callable[[float], bool], high: float) -> tuple[float, float]:
    """Neighbouring numbers between 0 and `high`: the last where something holds, and the first where it does not."""
    low = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _log_sum(log_CV: Array) -> Array:
    peak_C = log_CV.max(axis=1)
    return peak_C + np.log(np.exp(log_CV - peak_C[:, None]).sum(axis=1))
