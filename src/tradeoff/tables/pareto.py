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
from tradeoff.tables.verdicts import dominators


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
    """Every point, and another that is shown to have more of both scores, in the columns of `schemas.PARETO`."""
    rows: list[dict[str, Any]] = []
    for of in studied:
        beaten = dominated(of.domain_score[:1], of.general_score[:1])[0]
        for p, over in enumerate(dominators(of.domain_score, of.general_score)):
            by = None if over is None else of.points[over]
            rows.append(
                {
                    **of.key(p),
                    **interval("domain_score", of.domain_score[:, p]),
                    **interval("general_score", of.general_score[:, p]),
                    "on_front": not beaten[p],
                    "dominated": by is not None,
                    "dominated_by": by and by.method,
                    "dominated_by_rate": by and by.learning_rate,
                }
            )
    return pd.DataFrame(rows, columns=schemas.PARETO.names).astype({"dominated_by_rate": "Float64"})


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
