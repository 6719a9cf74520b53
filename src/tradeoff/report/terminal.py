"""The trade-off as a short table: which run gains what and loses what."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tradeoff.evaluation import CODE_LENGTH, Benchmark
from tradeoff.study import BASE, canonical_rate

MOST_TRUNCATED = 0.01  # a larger share of cut answers is told: scores then measure the limit too


def summary(table: pd.DataFrame, scores: pd.DataFrame, benchmarks: Mapping[str, Benchmark]) -> str:
    """A text table for each model and domain.

    Args:
        table: `tradeoff.parquet`.
        scores: `scores.parquet`.
        benchmarks: All of the study, in its order.
    """
    unbounded = [name for name, known in benchmarks.items() if not known.bounded]
    blocks = []
    for (model, domain), rows in table.groupby(["model", "domain"], sort=False):
        head = ["method", "rate", "domain", "gain", "±95%", "general", "change", "±95%"]
        head += ["domain nats", *(f"{name} {benchmarks[name].metrics[0]}" for name in unbounded), "Pareto"]
        body = [_line(row, unbounded) for _, row in rows.iterrows()]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        lines = [
            "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
            for line in [head, *body]
        ]
        blocks.append(
            "\n".join(
                [
                    f"\n{model} on {domain}: gain and change are against the base, item by item",
                    "",
                    *(line.rstrip() for line in lines),
                    "",
                    "domain nats: code length of the right responses, per token. Pareto: none has more of both scores.",
                ]
            )
        )
    return "\n".join([*blocks, *_truncated(scores)]) + "\n"


def _truncated(scores: pd.DataFrame) -> list[str]:
    """A line for each benchmark at whose limit many answers of some model ended."""
    shares = (scores["n_truncated"] / scores["n"]).groupby(scores["benchmark"], sort=False).max()
    limits = scores.groupby("benchmark")["max_new_tokens"].first()
    return [
        f"{name}: of one model up to {share:.0%} of the answers ended at the limit of {limits[name]} tokens"
        for name, share in zip(shares.index, shares, strict=True)
        if share > MOST_TRUNCATED
    ]


def _line(row: pd.Series, unbounded: list[str]) -> list[str]:
    base = row["method"] == BASE
    cells = [row["method"], "-" if base else canonical_rate(float(row["learning_rate"]))]
    for side in ("domain", "general"):
        cells.append(f"{row[f'{side}_score']:.3f}")
        cells += (
            ["-", "-"]
            if base
            else [f"{row[f'{side}_change']:+.3f}", f"{(row[f'{side}_change_high'] - row[f'{side}_change']):.3f}"]
        )
    cells += [f"{row[name]:.3f}" for name in (f"domain_{CODE_LENGTH}", *unbounded)]
    return [*cells, "*" if row["pareto"] else ""]
