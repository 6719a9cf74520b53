"""The paper's claims about tilting, on worlds that can be solved exactly; `python -m tradeoff.theory.tilting`.

Where an informal statement can be read in two ways, the table has both, in its column `reading`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.errors import command
from tradeoff.tables.schemas import TILTING
from tradeoff.theory.exact import (
    WEIGHTINGS,
    Array,
    Data,
    Leakage,
    Reading,
    Tree,
    Walk,
    World,
    bounds,
    code_length,
    cost,
    largest_safe_leak,
    largest_safe_step,
    score,
    walk,
)

SEED = 20509
TREE = Tree(depth=3, branching=3)
TOKENS, VOCABULARY = 20, 8  # of a response
HARD, EASY = 0.02, 0.9  # base probabilities of its right tokens
LEAK = 0.2
STEPS = (0.03, 0.1, 0.3, 1.0, 3.0)
SMALL = 1.0  # a step at which the cost is within 3 % of that of small steps
DRAWS = 16
BUDGET = 0.05  # nats
GAIN = 1.5  # nats; less than the easy tokens alone can give
SHARES = (0.1, 0.3, 0.6, 0.9)  # of all that can be gained
LEAKS = tuple(n / 10 for n in range(11))
MOST_STEPS = 2000


@dataclass(frozen=True)
class Setting:
    """A world under the name that the table calls it, its leak not yet decided."""

    name: str
    world: World
    general: str = "own"  # whose text the general data are: the base's "own", or "other"

    @property
    def possible(self) -> float:
        """All that can be gained on the domain: the base's divergence from it, nats per sequence."""
        perfect_CV = np.log(np.maximum(self.world.domain.token_CV, np.finfo(float).tiny))
        of = self.world.domain
        return code_length(of, np.log(self.world.base_CV)) - code_length(of, perfect_CV)


def tree(seed: int = SEED) -> World:
    """A random base on a token tree and a domain that differs from it in part; general data are the base's own text."""
    draw = np.random.default_rng(seed)
    base_CV = draw.dirichlet(np.ones(TREE.branching), TREE.contexts)
    domain_CV = 0.3 * base_CV + 0.7 * draw.dirichlet(np.full(TREE.branching, 0.5), TREE.contexts)
    return World(base_CV, TREE.data(domain_CV), base_CV, TREE.data(base_CV), np.eye(TREE.contexts))


def whole_sequences(of: World, on: Tree = TREE) -> World:
    """The same base and data with sequences for tokens: one context, in which whole sequences are tilted."""

    def flat(token_CV: Array) -> Array:
        return on.sequences(token_CV)[None]

    def data(token_CV: Array) -> Data:
        return Data(np.ones(1), flat(token_CV))

    return World(
        flat(of.base_CV), data(of.domain.token_CV), flat(of.general_base_GV), data(of.general.token_CV), np.eye(1)
    )


def response(hard: int, tokens: int = TOKENS, other: bool = False) -> World:
    """One right response of a number of tokens, some of them hard: a context each, all independent.

    Args:
        hard: How many of the right tokens have the probability `HARD` under the base; the others have `EASY`. What
            is left goes to the wrong tokens in equal parts.
        tokens: Length of the response.
        other: General data are not the base's own text from the same distributions but another, random one.
    """
    right_C = np.where(np.arange(tokens) < hard, HARD, EASY)
    base_CV = np.repeat((1 - right_C)[:, None] / (VOCABULARY - 1), VOCABULARY, axis=1)
    base_CV[:, 0] = right_C
    domain = Data(np.ones(tokens), np.tile(np.eye(VOCABULARY)[0], (tokens, 1)))
    if not other:
        return World(base_CV, domain, base_CV, Data(np.ones(tokens), base_CV), np.eye(tokens))
    draw = np.random.default_rng(SEED)
    believed_GV, written_GV = (draw.dirichlet(np.ones(VOCABULARY), tokens) for _ in range(2))
    general = Data(np.ones(tokens), 0.7 * believed_GV + 0.3 * written_GV)
    return World(base_CV, domain, believed_GV, general, np.eye(tokens))


def read_off(probabilities_TV: Array, right_T: npt.NDArray[np.intp]) -> World:
    """Distributions of a real base model on real prefixes, each a context; general data are its own text there.

    Contexts are independent in this world, which they are not in the model. The rest of the vocabulary counts as one
    token, so that nothing can move within it.

    Args:
        probabilities_TV: Of each prefix, the probabilities of some tokens, the right one among them, and in one column
            that of all others.
        right_T: The column of the right token.

    Raises:
        ValueError: a row is no distribution.
    """
    if np.any(probabilities_TV < 0) or not np.allclose(probabilities_TV.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities should be at least 0 and add up to 1; give the rest a column of its own")
    base_TV = np.maximum(probabilities_TV.astype(np.float64), 1e-30)
    base_TV /= base_TV.sum(axis=1, keepdims=True)
    contexts, columns = base_TV.shape
    domain = Data(np.ones(contexts), np.eye(columns)[right_T])
    return World(base_TV, domain, base_TV, Data(np.ones(contexts), base_TV), np.eye(contexts))


def table(real: Mapping[str, World] | None = None) -> pd.DataFrame:
    """All claims on all worlds, in the columns of `schemas.TILTING`.

    Args:
        real: Worlds of `read_off` by name, such as the model's.
    """
    of_tree = tree()
    rows = [*_one_step(Setting("tree", of_tree)), *_theorem_2(), *_leakage(Setting("tree", of_tree))]
    for setting in (
        Setting("tree", of_tree),
        Setting("tree, whole sequences", whole_sequences(of_tree)),
        Setting("response", response(4)),
    ):
        rows += _theorem_1(setting, get_args(Reading))
    for setting in (Setting("response", response(4)), Setting("response", response(4, other=True), "other")):
        rows += _equal_gain(setting, get_args(Leakage))
    for name, world in (real or {}).items():
        setting = Setting(name, world)
        rows += [*_one_step(setting), *_theorem_1(setting, ("fixed", "recomputed")), *_leakage(setting)]
        rows += _equal_gain(setting, ("strength", "share"))
    frame = pd.DataFrame(rows).reindex(columns=TILTING.names)
    return frame.astype({"hard_tokens": "Int32", "draws": "Int32"})


Rows = Iterable[dict[str, Any]]


def _row(claim: str, setting: Setting, **columns: Any) -> dict[str, Any]:
    where = {"claim": claim, "world": setting.name, "general": setting.general}
    return {**where, "method": "sft", "leakage": "strength", "leak": LEAK, **columns}


def _one_step(setting: Setting) -> Rows:
    world = setting.world.leaking(LEAK, "strength")
    of_domain = score(world.domain, world.base_CV)
    sides = {
        "domain": (world.domain, np.log(world.base_CV), of_domain),
        "general": (world.general, np.log(world.general_base_GV), world.leak_GC @ of_domain),
    }
    for reading, (data, log_CV, score_CV) in sides.items():
        for step in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
            found = bounds(data, log_CV, score_CV, step)
            yield _row(
                "one step",
                setting,
                reading=reading,
                step=step,
                change=found.exact,
                hoeffding=found.hoeffding,
                bennett=found.bennett,
                second_order=found.second_order,
            )


def _theorem_1(setting: Setting, readings: Iterable[Reading]) -> Rows:
    world, gain = setting.world.leaking(LEAK, "strength"), setting.possible / 4
    for reading in readings:
        draws = DRAWS if reading == "sampled" else 1
        for step in STEPS:
            found = [walk(world, step, gain, reading=reading, seed=n, most=MOST_STEPS) for n in range(draws)]
            walks = [w for w in found if w is not None]
            means: dict[str, float | None] = dict.fromkeys(("steps", "cost", "hoeffding", "cost_stderr"))
            if len(walks) == draws:
                means["steps"], means["cost"], means["hoeffding"] = (
                    float(np.mean(values)) for values in zip(*((w.steps, w.cost, w.bound) for w in walks), strict=True)
                )
            if len(walks) == draws > 1:
                means["cost_stderr"] = float(np.std([w.cost for w in walks], ddof=1)) / math.sqrt(draws)
            yield _row("theorem 1", setting, reading=reading, step=step, gain=gain, draws=draws, **means)


def _theorem_2() -> Rows:
    for hard in range(9):
        setting = Setting("response", response(hard))
        world = setting.world.leaking(LEAK, "strength")
        for method, weighting in WEIGHTINGS.items():
            safe = largest_safe_step(world, BUDGET, weighting)
            common: dict[str, Any] = {"hard_tokens": hard, "method": method}
            yield _row("theorem 2", setting, reading="one step", budget=BUDGET, safe=_finite(safe), **common)
            for reading, gain in (("same nats", GAIN), ("same share", setting.possible / 2)):
                found = walk(world, SMALL, gain, weighting, most=MOST_STEPS)
                yield _row("theorem 2", setting, reading=reading, step=SMALL, gain=gain, **_end(found), **common)


def _leakage(setting: Setting) -> Rows:
    step = 1.0
    for reading in get_args(Leakage):
        for leak in LEAKS:
            found = cost(setting.world.leaking(leak, reading), step)
            yield _row("leakage", setting, reading="cost", leakage=reading, leak=leak, step=step, cost=found)
        whole = cost(setting.world.leaking(1.0, reading), step)
        for share in (0.01, 0.03, 0.1, 0.3, 0.5):
            safe = largest_safe_leak(setting.world, step, share * whole, reading)
            yield _row(
                "leakage",
                setting,
                reading="safe leak",
                leakage=reading,
                leak=None,
                step=step,
                budget=share * whole,
                safe=safe,
            )


def _equal_gain(setting: Setting, leakages: Iterable[Leakage]) -> Rows:
    for leakage in leakages:
        world = setting.world.leaking(LEAK, leakage)
        for method, weighting in WEIGHTINGS.items():
            for share in SHARES:
                gain = share * setting.possible
                found = walk(world, SMALL, gain, weighting, most=MOST_STEPS)
                yield _row(
                    "equal gain",
                    setting,
                    method=method,
                    reading=f"{share:.0%} of the gain",
                    leakage=leakage,
                    step=SMALL,
                    gain=gain,
                    **_end(found),
                )


def _end(found: Walk | None) -> dict[str, Any]:
    """What a walk came to; nothing where it did not arrive."""
    return {"cost": None, "steps": None} if found is None else {"cost": found.cost, "steps": found.steps}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def main() -> None:
    """`python -m tradeoff.theory.tilting` prints what the claims come to."""
    frame = table()
    pd.set_option("display.width", 120, "display.max_rows", 200, "display.max_columns", 20)
    for claim, rows in frame.groupby("claim", sort=False):
        print(f"\n{claim}\n{_short(str(claim), rows)}")


def _short(claim: str, rows: pd.DataFrame) -> str:
    match claim:
        case "one step":
            kept = rows.set_index(["reading", "step"])[["change", "hoeffding", "bennett", "second_order"]]
            return kept.to_string(float_format="{:.5f}".format)
        case "theorem 1":
            shown = rows.pivot(index=["world", "reading"], columns="step", values="cost")
        case "theorem 2":
            values = rows["safe"].where(rows["reading"] == "one step", rows["cost"])
            shown = rows.assign(value=values).pivot(index=["reading", "method"], columns="hard_tokens", values="value")
        case "leakage":
            cost = rows[rows["reading"] == "cost"]
            shown = cost.pivot(index="leakage", columns="leak", values="cost")
        case _:
            shown = rows.pivot(index=["general", "leakage", "method"], columns="reading", values="cost")
    return shown.to_string(float_format="{:.5f}".format, na_rep="-")


if __name__ == "__main__":
    command(main)
