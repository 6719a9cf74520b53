"""Figures for papers: SVG and PNG, the same bytes for the same table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tradeoff.evaluation import BASE_TEXT
from tradeoff.study import BASE, canonical_rate

mpl.rcParams["svg.hashsalt"] = "tradeoff"

# Okabe and Ito's palette, told apart by colour-blind readers too; markers say the same once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class View:
    """Two columns of the trade-off table against each other, and whose intervals are drawn; up and right is better."""

    x: str
    x_error: str
    x_label: str
    y: str
    y_error: str
    y_label: str
    lower_is_better: bool = False


SCORES = View(
    "domain_score",
    "domain_score",
    "domain score (higher is better)",
    "general_score",
    "general_score",
    "general score (higher is better)",
)
NATS = View(
    "domain_code_length",
    "domain_code_length_change",
    "domain code length, nats per token (lower is better)",
    BASE_TEXT,
    f"{BASE_TEXT}_change",
    "KL from the base on its own text, nats per token (lower is better)",
    lower_is_better=True,
)


def pareto_figure(table: pd.DataFrame, study: str) -> Figure:
    """General ability against the domain: a row for each model and domain, the base as a star.

    The left panel has the scores. Where the study has `base_text`, the right one has code length against KL divergence,
    which separate runs long before scores do; its axes run backwards, so that up and right is better in both.

    Args:
        table: `tradeoff.parquet`.
        study: The study's name, for the title.
    """
    groups = list(table.groupby(["model", "domain"], sort=False))
    views = [SCORES, NATS] if BASE_TEXT in table.columns else [SCORES]
    figure = Figure(figsize=(6.0 * len(views), 4.8 * len(groups)), layout="constrained")
    for line, ((model, domain), rows) in enumerate(groups):
        for column, view in enumerate(views):
            axes = figure.add_subplot(len(groups), len(views), line * len(views) + column + 1)
            _panel(axes, rows, view)
            axes.set_title(f"{study}: {model} on {domain}", fontsize=10)
            axes.set_xlabel(view.x_label)
            axes.set_ylabel(view.y_label)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure in the format of the path's ending, without a date."""
    if path.suffix == ".svg":
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    else:
        figure.savefig(path, dpi=160, metadata={"Software": None})


def _panel(axes: Axes, rows: pd.DataFrame, view: View) -> None:
    values = rows.astype({name: float for e in (view.x_error, view.y_error) for name in (e, f"{e}_low", f"{e}_high")})
    values = values.astype({view.x: float, view.y: float})
    base = values[values["method"] == BASE].iloc[0]
    axes.axvline(base[view.x], color="0.85", zorder=0)
    axes.axhline(base[view.y], color="0.85", zorder=0)
    names = [name for name in values["method"].unique() if name != BASE]
    for index, name in enumerate(names):
        points = values[values["method"] == name].sort_values("learning_rate")
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.errorbar(
            points[view.x],
            points[view.y],
            xerr=_reach(points, view.x_error),
            yerr=_reach(points, view.y_error),
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=1,
            elinewidth=0.6,
            alpha=0.9,
            label=name,
        )
        for _, point in points.iterrows():
            axes.annotate(
                canonical_rate(float(point["learning_rate"])),
                (point[view.x], point[view.y]),
                textcoords="offset points",
                xytext=(5, 4),
                fontsize=6.5,
                color=colour,
            )
    axes.plot(base[view.x], base[view.y], "k*", markersize=15, label=f"{BASE} model")
    if view.lower_is_better:
        axes.invert_xaxis()
        axes.invert_yaxis()
    else:
        front = values[values["pareto"]].sort_values(view.x)
        axes.step(front[view.x], front[view.y], "k:", where="pre", linewidth=1, alpha=0.5, label="Pareto front")
    axes.legend(fontsize=8, framealpha=0.9)


def _reach(points: pd.DataFrame, name: str) -> list[pd.Series]:
    """How far the interval of a column goes below and above it."""
    return [points[name] - points[f"{name}_low"], points[f"{name}_high"] - points[name]]
