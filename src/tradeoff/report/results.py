"""What a finished study left, and what every part of its report asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from tradeoff.evaluation import Benchmark
from tradeoff.study import BASE, canonical_rate
from tradeoff.tables.scores import Score


class Pair(NamedTuple):
    """A base model on a domain."""

    model: str
    domain: str

    def __str__(self) -> str:
        return f"{self.model} on {self.domain}"

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Those of a table that are its own."""
        return table[(table["model"] == self.model) & (table["domain"] == self.domain)]


@dataclass(frozen=True)
class Results:
    """A finished study.

    Attributes:
        study: The study's content, as JSON.
        tables: Frames by name, in the columns of `tables.schemas`; of `samples` only the rows of `flips.wanted`.
        cards: Of all runs, as in their `card.json`.
        benchmarks: All of the study, in its order.
        scored: For each domain, the benchmarks of the general score.
        settings: The settings in force, and what an interval means, in words; captions end with it.
    """

    study: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    cards: Sequence[Mapping[str, Any]]
    benchmarks: Mapping[str, Benchmark]
    scored: Mapping[str, Score]
    settings: str

    @cached_property
    def pairs(self) -> list[Pair]:
        """In the study's order."""
        keys = self.tables["tradeoff"][["model", "domain"]].drop_duplicates()
        return [Pair(str(model), str(domain)) for model, domain in keys.to_numpy()]

    @cached_property
    def methods(self) -> list[str]:
        """In the study's order."""
        return [str(name) for name in self.tables["tradeoff"]["method"].unique() if name != BASE]

    @cached_property
    def rates(self) -> list[float]:
        """Ascending."""
        return sorted({float(rate) for rate in self.tables["tradeoff"]["learning_rate"].dropna()})

    @cached_property
    def general(self) -> list[str]:
        """Names of the general benchmarks, in the study's order."""
        return [name for name in self.benchmarks if name not in self.scored]

    @cached_property
    def bounded(self) -> list[str]:
        """General benchmarks that are scores from 0 to 1."""
        return [name for name in self.general if self.benchmarks[name].bounded]

    @cached_property
    def run_ids(self) -> dict[tuple[str, str, str, float | None], str]:
        """The ids of a point's runs in the order of their seeds, as one text."""
        scores = self.tables["scores"]
        runs = scores[["run_id", "model", "domain", "method", "learning_rate", "seed"]].drop_duplicates()
        found: dict[tuple[str, str, str, float | None], str] = {}
        for run in runs.sort_values("seed", kind="stable").to_dict("records"):
            for domain in [run["domain"]] if run["method"] != BASE else [pair.domain for pair in self.pairs]:
                key = (run["model"], domain, run["method"], number(run["learning_rate"]))
                found[key] = f"{found[key]} {run['run_id']}" if key in found else run["run_id"]
        return found


def number(value: Any) -> float | None:
    """A float, or None for a null."""
    return None if pd.isna(value) else float(value)


def rate_text(value: Any) -> str:
    """A learning rate in the study's spelling; nothing for a null."""
    return "" if pd.isna(value) else canonical_rate(float(value))


def point_text(method: Any, rate: Any) -> str:
    """Such as `talr at 2e-05`; nothing for a null."""
    if pd.isna(method):
        return ""
    return f"{method} at {rate_text(rate)}" if not pd.isna(rate) else str(method)


def points_text(share: Any) -> str:
    """A share of a score in points, such as `2 points`."""
    points = round(100 * float(share), 1)
    return f"{points:g} point{plural(points)}"


def span_text(row: Mapping[Any, Any], name: str, sign: bool = True) -> str:
    """An estimate and its interval, such as `+0.120 (+0.050 to +0.190)`; nothing for a null."""
    values = [number(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
    texts = ["" if v is None else f"{round(v, 3) + 0.0:{'+' if sign else ''}.3f}".replace("-", "−") for v in values]
    if not texts[0] or not texts[1]:
        return texts[0] and f"{texts[0]} (no interval)"
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def plural(count: Any) -> str:
    """The letter that a plural ends in."""
    return "" if count == 1 else "s"
