"""The Pareto front and the hypervolume, of the estimates and of every replicate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import moocore
import numpy as np
import numpy.typing as npt
import pandas as pd

from tradeoff.tables import schemas
from tradeoff.tables.replicates import CLOSE, Array, Replicates, interval

LEVEL = 0.95  # a point is called dominated where that holds in at least this share of replicates


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point, whether no other is at least as good in both and better in one; higher is better."""
    both = np.array(points, float).reshape(-1, 2)
    return [not is_so for is_so in dominated(both[None, :, 0], both[None, :, 1])[0].tolist()]


def dominated(domain: Array, general: Array) -> npt.NDArray[np.bool_]:
    """Where some other point is at least as good in both and better in one; equal points do not dominate each other.

    Args:
        domain: Scores, [replicates, points].
        general: Likewise.
    """
    found = np.zeros(domain.shape, bool)
    for other in range(domain.shape[1]):
        over, above = (scores[:, [other]] - scores for scores in (domain, general))
        found |= (over > -CLOSE) & (above > -CLOSE) & ((over > CLOSE) | (above > CLOSE))
    return found


def front(studied: Iterable[Replicates]) -> pd.DataFrame:
    """Every point, and how surely another dominates it, in the columns of `schemas.PARETO`."""
    rows: list[dict[str, Any]] = []
    for of in studied:
        beaten = dominated(of.domain_score, of.general_score)
        shares = beaten[1:].mean(axis=0)
        rows += [
            {
                **of.key(p),
                **interval("domain_score", of.domain_score[:, p]),
                **interval("general_score", of.general_score[:, p]),
                "on_front": not beaten[0, p],
                "p_dominated": float(shares[p]),
                "level": LEVEL,
                "dominated": bool(shares[p] >= LEVEL),
            }
            for p in range(len(of.points))
        ]
    return pd.DataFrame(rows, columns=schemas.PARETO.names)


def hypervolume(studied: Iterable[Replicates]) -> pd.DataFrame:
    """What each method's rates reach together, in the columns of `schemas.HYPERVOLUME`."""
    rows: list[dict[str, Any]] = []
    for of in studied:
        volumes = {name: hypervolumes(of, points) for name, points in of.methods.items()}
        most = np.max(list(volumes.values()), axis=0)
        rows += [
            {
                "model": of.model,
                "domain": of.domain,
                "method": name,
                "recipe": of.points[of.methods[name][0]].recipe,
                "rates": len(of.methods[name]),
                "reference_domain": reference(of)[0],
                "reference_general": reference(of)[1],
                **interval("hypervolume", volume),
                "p_best": float((volume > most - CLOSE)[1:].mean()),
            }
            for name, volume in volumes.items()
        ]
    return pd.DataFrame(rows, columns=schemas.HYPERVOLUME.names)


def reference(of: Replicates) -> tuple[float, float]:
    """The base's domain score, as estimated, and a general score of 0: a run that gains nothing counts nothing."""
    return float(of.domain_score[0, 0]), 0.0


def hypervolumes(of: Replicates, points: list[int]) -> Array:
    """The area between the reference point and some points together, [1 + replicates].

    Points below the reference add nothing.
    """
    measure = moocore.Hypervolume(ref=reference(of), maximise=True)
    both = np.stack([of.domain_score[:, points], of.general_score[:, points]], axis=2)
    return np.array([measure(replicate) for replicate in both])
