"""A study's scores beside the paper's (Lin et al. 2025, arXiv 2509.20758), where both measure the same.

The paper's code, prompts, limits and splits are not released, so that a difference may be any of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tradeoff.tables import schemas
from tradeoff.tables.replicates import Replicates, interval

SOURCE = "arXiv 2509.20758"
DOMAIN, RATE = "medcalc", 1e-6
GENERAL = {"ifeval", "gsm8k", "humaneval"}  # their plain mean is the paper's general score
# Of each base model and recipe at RATE: domain score, general score.
PUBLISHED = {
    "hub:Qwen/Qwen2.5-3B-Instruct": {
        "sft": (0.495, 0.620),
        "l2": (0.490, 0.621),
        "lora": (0.126, 0.583),
        "average": (0.195, 0.629),
        "flow": (0.364, 0.597),
        "talr": (0.481, 0.648),
    },
    "hub:Qwen/Qwen3-4B": {
        "sft": (0.548, 0.784),
        "l2": (0.469, 0.796),
        "lora": (0.195, 0.764),
        "average": (0.143, 0.788),
        "flow": (0.477, 0.787),
        "talr": (0.489, 0.788),
    },
}
# Hyper-parameters that make an entry of a recipe what the paper compares.
AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "lora": {"lr_multiplier": 1.0},
    "average": {"alpha": 0.5},
    "talr": {"tau": "median_sequence", "floor": 0.01, "normalise": False},
}


def against_paper(
    studied: Iterable[Replicates],
    sources: Mapping[str, str],
    kinds: Mapping[str, str],
    methods: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """In the columns of `schemas.AGAINST_PAPER`; empty for other models, domains and rates.

    Args:
        studied: Every model and domain of a study.
        sources: Where each of its models comes from.
        kinds: Of each of its domains.
        methods: Recipe and hyper-parameters of each of its methods.
    """
    alike = {name for name in methods if _as_published(name, methods)}
    rows = [row for of in studied if kinds[of.domain] == DOMAIN for row in _rows(of, sources[of.model], alike)]
    return pd.DataFrame(rows, columns=schemas.AGAINST_PAPER.names)


def _rows(of: Replicates, source: str, alike: set[str]) -> Iterator[dict[str, Any]]:
    published = PUBLISHED.get(source, {})
    sides = {"domain": of.domain_score, "general": of.general_score}
    for p, point in enumerate(of.points):
        if point.method not in alike or point.recipe not in published or point.learning_rate != RATE:
            continue
        for (side, scores), theirs in zip(sides.items(), published[point.recipe], strict=True):
            if side == "domain" or (set(of.scored) == GENERAL and np.array_equal(of.general_score, of.general_plain)):
                ours = interval("ours", scores[:, p])
                numbers = {"published": theirs, "difference": ours["ours"] - theirs}
                yield {**of.key(p), "side": side, **ours, **numbers, "source": SOURCE}


def _as_published(name: str, methods: Mapping[str, Mapping[str, Any]]) -> bool:
    spec = methods[name]
    asked = AS_PUBLISHED.get(spec["recipe"], {})
    of_sft = "of" not in spec or methods[spec["of"]]["recipe"] == "sft"
    return of_sft and all(spec.get(key, value) == value for key, value in asked.items())
