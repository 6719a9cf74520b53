"""The trade-off as a short table: which run gains what and loses what."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd

from tradeoff.evaluation import CODE_LENGTH, IN_USER_TURN, Benchmark
from tradeoff.study import BASE, canonical_rate
from tradeoff.tables.recommendation import headline

WIDTH = 120
MOST_TRUNCATED = 0.01  # a larger share of cut answers is told: scores then measure the limit too


def summary(
    table: pd.DataFrame,
    scores: pd.DataFrame,
    recommendation: pd.DataFrame,
    benchmarks: Mapping[str, Benchmark],
    leaked: Sequence[str] = (),
) -> str:
    """A text table for each model and domain, and at the end what follows from it, in words.

    Args:
        table: `tradeoff.parquet`.
        scores: `scores.parquet`.
        recommendation: `recommendation.parquet`.
        benchmarks: All of the study, in its order.
        leaked: Lines about items that occur in the training data.
    """
    unbounded = [name for name, known in benchmarks.items() if not known.bounded]
    blocks = []
    for (model, domain), rows in table.groupby(["model", "domain"], sort=False):
        head = ["method", "rate", "domain", "gain", "95%", "general", "change", "95%"]
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
                    "",
                    *_headlines(recommendation, str(model), str(domain)),
                    f"\n{model} on {domain}: gain and change are against the base, item by item",
                    "",
                    *(line.rstrip() for line in lines),
                    "",
                    "domain nats: code length of the right responses, per token. Pareto: none has more of both scores.",
                ]
            )
        )
    return "\n".join([*blocks, *leaked, *_cut(scores), *_folded(scores), *_recommended(recommendation)]) + "\n"


def _cut(scores: pd.DataFrame) -> list[str]:
    """A line for each benchmark of which many answers of some model were cut, or not given at all."""
    limits = scores.groupby("benchmark")["max_new_tokens"].first()
    what = {
        "n_truncated": "answers ended at the limit of {limit} tokens",
        "n_unfinished": "answers never left the model's reasoning",
        "n_too_long": "items leave no room in the model's context",
    }
    lines = []
    for column, told in what.items():
        shares = (scores[column] / scores["n"]).groupby(scores["benchmark"], sort=False).max()
        lines += [
            f"{name}: of one model up to {share:.0%} of the {told.format(limit=limits[name])}"
            for name, share in zip(shares.index, shares, strict=True)
            if share > (MOST_TRUNCATED if column == "n_truncated" else 0)
        ]
    return lines


def _folded(scores: pd.DataFrame) -> list[str]:
    """A line for each model whose template takes no system turn."""
    folded = scores[scores["system_turn"] == IN_USER_TURN]
    return [
        f"{model}: its chat template takes no system turn; a system text {IN_USER_TURN}"
        for model in folded["model"].unique()
    ]


def _headlines(recommendation: pd.DataFrame, model: str, domain: str) -> list[str]:
    """The sentence to act on."""
    rows = recommendation[(recommendation["model"] == model) & (recommendation["domain"] == domain)].to_dict("records")
    return textwrap.wrap(headline(rows), WIDTH) if rows else []


def _recommended(recommendation: pd.DataFrame) -> list[str]:
    """What is recommended for each bound on the loss, or why nothing is."""
    lines = []
    for (model, domain), rows in recommendation.groupby(["model", "domain"], sort=False):
        lines += [f"\nRecommendation for {model} on {domain}, by the most loss of general score that is accepted:", ""]
        for row in rows.to_dict("records"):
            about = f"  {row['bound']:.2f}  {row['verdict']}: "
            told = str(row["reason"]) if pd.isna(row["needs"]) else f"{row['reason']} {row['needs']}"
            lines += textwrap.wrap(told, WIDTH, initial_indent=about, subsequent_indent=" " * 8)
        for caveat in rows["caveat"].dropna().unique():
            lines += ["", *textwrap.wrap(caveat, WIDTH, initial_indent="  ", subsequent_indent="  ")]
    return lines


def _span(low: float, high: float) -> str:
    return f"{low:+z.3f} to {high:+z.3f}"


def _line(row: pd.Series, unbounded: list[str]) -> list[str]:
    base = row["method"] == BASE
    cells = [row["method"], "-" if base else canonical_rate(float(row["learning_rate"]))]
    for side in ("domain", "general"):
        cells.append(f"{row[f'{side}_score']:z.3f}")
        cells += (
            ["-", "-"]
            if base
            else [f"{row[f'{side}_change']:+z.3f}", _span(row[f"{side}_change_low"], row[f"{side}_change_high"])]
        )
    cells += [f"{row[name]:z.3f}" for name in (f"domain_{CODE_LENGTH}", *unbounded)]
    return [*cells, "*" if row["pareto"] else ""]
