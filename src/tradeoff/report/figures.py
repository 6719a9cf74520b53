"""Figures for papers: SVG and PNG, the same bytes for the same table."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tradeoff.study import BASE, canonical_rate

mpl.rcParams["svg.hashsalt"] = "tradeoff"

# Okabe and Ito's palette, told apart by colour-blind readers too; markers say the same once more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def pareto_figure(table: pd.DataFrame, study: str) -> Figure:
    """General against domain score, one panel for each model and domain; the base is a star.

    Args:
        table: `tradeoff.parquet`.
        study: The study's name, for the title.
    """
    groups = list(table.groupby(["model", "domain"], sort=False))
    figure = Figure(figsize=(6.4 * len(groups), 4.8), layout="constrained")
    for index, ((model, domain), rows) in enumerate(groups):
        axes = figure.add_subplot(1, len(groups), index + 1)
        _panel(axes, rows)
        axes.set_title(f"{study}: {model} on {domain}", fontsize=10)
        axes.set_xlabel("domain score (higher is better)")
        axes.set_ylabel("general score (higher is better)")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure in the format of the path's ending, without a date."""
    if path.suffix == ".svg":
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    else:
        figure.savefig(path, dpi=160, metadata={"Software": None})


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    base = rows[rows["method"] == BASE].iloc[0]
    axes.axvline(base["domain_score"], color="0.85", zorder=0)
    axes.axhline(base["general_score"], color="0.85", zorder=0)
    names = [name for name in rows["method"].unique() if name != BASE]
    for index, name in enumerate(names):
        points = rows[rows["method"] == name].sort_values("learning_rate")
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.errorbar(
            points["domain_score"].astype(float),
            points["general_score"].astype(float),
            xerr=points["domain_stderr"].astype(float),
            yerr=points["general_stderr"].astype(float),
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
                canonical_rate(float(point["learning_rate"])).replace("e-0", "e-"),
                (float(point["domain_score"]), float(point["general_score"])),
                textcoords="offset points",
                xytext=(5, 4),
                fontsize=6.5,
                color=colour,
            )
    axes.plot(
        float(base["domain_score"]),
        float(base["general_score"]),
        color="black",
        marker="*",
        markersize=15,
        linestyle="none",
        label=f"{BASE} model",
    )
    front = rows[rows["pareto"]].sort_values("domain_score")
    axes.step(
        front["domain_score"].astype(float),
        front["general_score"].astype(float),
        where="pre",
        color="0.5",
        linestyle=":",
        linewidth=1,
        zorder=0,
        label="Pareto front",
    )
    axes.legend(fontsize=8, framealpha=0.9)
