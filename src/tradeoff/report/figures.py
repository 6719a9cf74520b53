"""Figures as Altair charts: alive on the page, and still as SVG and PNG, the same bytes for the same table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert as vlc

from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH
from tradeoff.provenance import write_whole
from tradeoff.report.marks import INK, LIMIT, MUTED, STAR, looks
from tradeoff.report.results import Pair, Results, number, point_text, points_text, rate_text, span_text
from tradeoff.study import BASE
from tradeoff.tables.standing import EQUIVALENT, ESTIMATE, OFFERED, SAFE
from tradeoff.tables.verdicts import TAKE

GENERAL = "general score"  # stands for the mean over benchmarks in the choice of a benchmark
LINE = 1400  # pixels; the key, or panels in a row, that would be wider than this go on below
GAP = 24  # pixels between panels
NAME = 300  # pixels that a name has at most before it is cut: 40 characters and some more
WIDTH = 330  # pixels of a still panel without its axes
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
CONFIG: dict[str, Any] = {
    "background": "white",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "domainColor": MUTED,
        "tickColor": MUTED,
        "gridColor": "#eeeeee",
        "labelFlush": False,
        "labelLimit": NAME,
    },
    "title": {"color": INK, "fontSize": 13, "fontWeight": "bold", "anchor": "start", "offset": 8},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "symbolSize": 90,
        "labelLimit": NAME,
        "symbolLimit": 0,  # none; Vega's own drops what is beyond 30
    },
    "concat": {"spacing": GAP},
}
VIEWS = {
    "bounded_loss": ("Within a bound on the loss", "domain change", "most loss accepted"),
    "matched_gain": ("At the same domain gain", "general change", "gain in common"),
    "matched_norm": ("At the same update norm", "general change", "norm in common"),
    "matched_kl": ("At the same divergence from the base", "general change", "KL in common, nats per token"),
}
PNG_SCALE = 2.0


Spec = dict[str, Any]  # of Vega-Lite


@dataclass(frozen=True)
class Choice:
    """A parameter of charts that a reader sets with a select; `params` of that name are set in all charts."""

    param: str
    label: str
    options: tuple[str, ...]
    value: str


@dataclass(frozen=True)
class Figure:
    """A figure as it is shown and as it is written.

    Attributes:
        name: Of its files and its place on the page.
        chart: What is written as SVG and PNG, and shown where there are no panels.
        caption: What is shown, with the settings in force.
        alt_text: What is seen, for those who do not see it.
        panels: What the page shows in place of `chart`, side by side where there is room; width "container" is best.
        choices: Selects above the figure.
        table: The numbers, for those who do not see it.
        narrowest: Pixels that a panel has at least.
    """

    name: str
    chart: alt.TopLevelMixin | Spec
    caption: str
    alt_text: str
    panels: tuple[alt.TopLevelMixin | Spec, ...] = ()
    choices: tuple[Choice, ...] = ()
    table: pd.DataFrame | None = None
    narrowest: int = 300

    @cached_property
    def shown(self) -> list[Spec]:
        """Vega-Lite specs of the page, with the alternative text as description."""
        return [spec_of(chart) | {"description": self.alt_text} for chart in self.panels or (self.chart,)]


def spec_of(chart: alt.TopLevelMixin | Spec) -> Spec:
    """A chart as a Vega-Lite spec in the report's style."""
    spec = chart if isinstance(chart, dict) else chart.to_dict(validate=False)
    return {"$schema": alt.SCHEMA_URL, **spec, "config": {**spec.get("config", {}), **CONFIG}}


def save(figure: Figure, folder: Path) -> None:
    """Writes `<name>.svg` and `<name>.png` into a folder."""
    drawing = svg(figure)
    png = vlc.svg_to_png(drawing, scale=PNG_SCALE)
    write_whole(folder / f"{figure.name}.svg", lambda aside: aside.write_text(drawing, encoding="utf-8"))
    write_whole(folder / f"{figure.name}.png", lambda aside: aside.write_bytes(png))


def svg(figure: Figure) -> str:
    """A figure as SVG, with the alternative text as its label."""
    drawing = vlc.vegalite_to_svg(spec_of(figure.chart))
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.alt_text)}" ', 1)


def all_figures(results: Results) -> list[Figure]:
    """Every figure of a study, in the order of the page; without `trajectory:` there is none of it."""
    made = [pareto(results), rates(results), changes(results)]
    if not results.tables["trajectory"].empty:
        made.append(trajectory(results))
    return [*made, views(results), hypervolume(results)]


def pareto(results: Results) -> Figure:
    """Domain score against general score; and where there is `base_text`, code length against divergence."""
    points, style = _points(results), _Style(results)
    frames = {SCORES: points}
    if BASE_TEXT in results.general:
        frames[NATS] = _nats(results, points)
    panels = {plane: partial(_plane, style, plane) for plane in frames}
    choices = (
        Choice("benchmark", "General benchmark", (GENERAL, *results.bounded), GENERAL),
        Choice("bound", "Accepted loss", *_bounds(results, results.pairs[0])),
        Choice("intervals", "95 % intervals", ("shown", "hidden"), "shown"),
    )
    return Figure(
        "pareto",
        _still(results, [(panels[plane], rows[rows["benchmark"] == GENERAL]) for plane, rows in frames.items()]),
        "Up and right is better. Lines join a method's learning rates in their order, larger marks are larger rates, "
        "the star is the base model, the long dashes are the accepted loss of general score. Filled: shown to gain and "
        "to lose no more than that; hollow: not shown. A heavy ring is the run to take, or, if dashed, the best "
        "estimate; thin rings are equivalent to it. Crossed out: another point is shown to have more of both scores, "
        "all pairs judged at once at 95 %. "
        + ("The second panel has the same runs in nats, its axes running backwards. " if NATS in frames else "")
        + results.settings,
        _alt(results, "Scatter plot of general score against domain score", "domain_score", "general_score"),
        tuple(
            _shown(results, rows, panels[plane], START[plane], {choice.param: choice.value for choice in choices[1:]})
            for plane, rows in frames.items()
        ),
        choices,
        _numbers(points, {"benchmark": "benchmark", "domain_text": "domain score", "y_text": "general"}),
    )


def rates(results: Results) -> Figure:
    """Scores against the learning rate."""
    points, style = _points(results), _Style(results)
    general = points[["model", "domain", "benchmark", *_OF_RATE, "y", "y_low", "y_high", "y_text"]]
    domain = points[points["benchmark"] == GENERAL][
        ["model", "domain", *_OF_RATE, "x", "x_low", "x_high", "domain_text"]
    ]
    frames = {"x": domain, "y": general}
    width = max(150, *(_pixels(f"{name}, general") for name in results.methods))
    charts = {
        (a, shown): _against_rate(style, results.rates, a, width, shown) for a in frames for shown in (True, False)
    }
    panels = [(partial(_of_method, charts, a, m), a) for a in frames for m in results.methods]
    above = [(partial(_both, charts, m), points[points["benchmark"] == GENERAL]) for m in results.methods]
    return Figure(
        "rates",
        _still(results, above, width + 25),
        "Scores against the learning rate, a panel a method, the others behind it in grey, domain above and general "
        f"below; a band is the interval, the dashed line the base. {results.settings}",
        _alt(results, "Line plots of scores against the learning rate", "domain_score", "general_score"),
        tuple(_shown(results, frames[a], panel, {"benchmark": GENERAL} if a == "y" else {}) for panel, a in panels),
        (Choice("benchmark", "General benchmark", (GENERAL, *results.bounded), GENERAL),),
        _numbers(points, {"benchmark": "benchmark", "domain_text": "domain score", "y_text": "general"}),
        narrowest=width + 10,
    )


def changes(results: Results) -> Figure:
    """Each benchmark's change from the base."""
    rows, style = _changes(results), _Style(results)
    names = list(dict.fromkeys(rows["benchmark"]))
    panels = [
        (partial(_dots, style, _Dots("change", _named(results, n), "change →", "rank")), rows[rows["benchmark"] == n])
        for n in names
    ]
    return Figure(
        "changes",
        _still(results, panels, WIDTH + style.names),
        "Change from the base on each benchmark, in pairs of the same items; a dot a learning rate, larger ones for "
        f"larger rates, from the smallest above to the largest below. {results.settings}",
        f"Dot plots with intervals of the change from the base on {', '.join(names)}, by method and learning rate.",
        tuple(_shown(results, of_name, panel) for panel, of_name in panels),
        (),
        _numbers(rows, {"benchmark": "benchmark", "text": "change from the base"}),
        narrowest=max(300, 250 + style.names),
    )


def trajectory(results: Results) -> Figure:
    """The way of a training, from the base to the run."""
    rows, style = _clean(results.tables["trajectory"]), _Style(results)
    rows["domain_text"] = [span_text(row, "domain_change") for row in rows.to_dict("records")]
    rows["general_text"] = [span_text(row, "general_change") for row in rows.to_dict("records")]
    known = [rate_text(rate) for rate in results.rates if rate_text(rate) in set(rows["rate"])]
    panels = [partial(_way, style, side) for side in ("domain", "general")]
    return Figure(
        "trajectory",
        _still(results, [(panel, rows[rows["rate"] == known[-1]]) for panel in panels]),
        f"Change from the base on the way of a training, at the learning rate {known[-1]} unless another is chosen; a "
        f"band is the interval. A learning rate's schedule is not over at a snapshot. {results.settings}",
        f"Line plots of domain change and general change against the fraction of the training, at {known[-1]}.",
        tuple(_shown(results, rows, draw, {"rate": known[-1]}) for draw in panels),
        (Choice("rate", "Learning rate", tuple(known), known[-1]),),
        _numbers(rows, {"fraction": "fraction", "domain_text": "domain change", "general_text": "general change"}),
    )


def views(results: Results) -> Figure:
    """Methods compared otherwise than at one learning rate."""
    table = _clean(results.tables["views"])
    table["value_of"] = ["domain" if view == "bounded_loss" else "general" for view in table["view"]]
    for end in ("", "_low", "_high"):
        picked = [row[f"{row['value_of']}_change{end}"] for row in table.to_dict("records")]
        table[f"value{end}"] = pd.Series(picked, index=table.index, dtype=float)
    table["text"] = [span_text(row, "value") for row in table.to_dict("records")]
    table["level"] = [
        f"{at:g}" if view == "bounded_loss" else f"{at:.3g}" for view, at in table[["view", "at"]].to_numpy()
    ]
    style, found = _Style(results), [view for view in VIEWS if (table["view"] == view).any()]
    counts = table.groupby(["view", "model", "domain"])["level"].nunique().groupby("view").max()
    panels = [(partial(_levels, style, view, int(counts[view])), table[table["view"] == view]) for view in found]
    text = ", ".join(VIEWS[view][0].lower() for view in found) or "no view has rows"
    return Figure(
        "views",
        _still(results, panels) if found else _nothing("No view compares methods in this study."),
        "Methods compared otherwise than at one learning rate: the best rate within a bound on the loss of general "
        "score (domain change), and the general change where methods have the same domain gain, the same norm of the "
        "update or the same divergence from the base, read between their rates. Right is better; a method without a "
        f"dot does not come there. {results.settings}",
        f"Dot plots with intervals by method: {text}.",
        tuple(_shown(results, rows, panel) for panel, rows in panels),
        (),
        _numbers(table, {"view": "view", "level": "at", "value_of": "change in", "text": "change"}),
        narrowest=255,
    )


def hypervolume(results: Results) -> Figure:
    """What a method's rates reach together."""
    table, style = _clean(results.tables["hypervolume"]), _Style(results)
    table["text"] = [span_text(row, "hypervolume", sign=False) for row in table.to_dict("records")]
    table["best"] = [f"{p:.0%}" for p in table["p_best"]]
    panel = partial(_dots, style, _HYPERVOLUME)
    return Figure(
        "hypervolume",
        _still(results, [(panel, table)]),
        "Area that a method's rates dominate together, above the base's domain score and a general score of 0; the "
        f"share at the right is that of replicates in which no other method has more. {results.settings}",
        "Dot plot with intervals of the hypervolume by method.",
        (_shown(results, table, panel),),
        (),
        _numbers(table, {"text": "hypervolume", "best": "share of replicates in which it is the most"}),
    )


# Frames


def _clean(table: pd.DataFrame) -> pd.DataFrame:
    """Plain floats of few digits, a rate as text and as a rank; the rank is -1 for the base."""
    rows = table.copy()
    for name in rows.columns:
        if pd.api.types.is_float_dtype(rows[name].dtype) or name.endswith(("_low", "_high")):
            rows[name] = rows[name].astype(float)
        if pd.api.types.is_float_dtype(rows[name].dtype) and name != "learning_rate":
            rows[name] = rows[name].round(5) + 0.0
    if "learning_rate" in rows:
        ascending = sorted(set(rows["learning_rate"].dropna()))
        rows["rate"] = [rate_text(rate) for rate in rows["learning_rate"]]
        rows["rank"] = [-1 if pd.isna(rate) else ascending.index(rate) for rate in rows["learning_rate"]]
    return rows


def _points(results: Results) -> pd.DataFrame:
    """Each point once for each general benchmark: x is the domain score, y that benchmark's, in long form."""
    table = _clean(results.tables["tradeoff"])
    front = results.tables["pareto"]
    keys = ["model", "domain", "method", "learning_rate"]
    beaten = {tuple(map(_key, row[:-1])): bool(row[-1]) for row in front[[*keys, "dominated"]].to_numpy(object)}
    standings: dict[tuple[Any, ...], dict[str, str]] = {}
    for *of, bound, word in results.tables["standing"][[*keys, "bound", "standing"]].to_numpy(object):
        standings.setdefault(tuple(map(_key, of)), {})[points_text(bound)] = word
    right = _right_halves(table)
    about = {pair: _bounds(results, pair)[1] for pair in results.pairs}
    rows = []
    for row in table.to_dict("records"):
        key = (row["model"], row["domain"], row["method"], number(row["learning_rate"]))
        common = {k: row[k] for k in (*keys, "recipe", "rate", "rank", "seeds")}
        common |= {f"x{end}": row[f"domain_score{end}"] for end in ("", "_low", "_high")}
        common |= {
            "runs": results.run_ids.get(key, ""),
            "dominated": beaten.get(key, False),
            "right": right[row["model"], row["domain"]] <= row["domain_score"],
            "headline": about[Pair(row["model"], row["domain"])],
            **standings.get(key, {}),
            "domain_text": span_text(row, "domain_score", sign=False),
            "domain_change_text": span_text(row, "domain_change"),
        }
        for name, column in {GENERAL: "general_score", **{name: name for name in results.bounded}}.items():
            changed = f"{column.removesuffix('_score')}_change"
            rows.append(
                common
                | {f"y{end}": row[f"{column}{end}"] for end in ("", "_low", "_high")}
                | {
                    "benchmark": name,
                    "y_text": span_text(row, column, sign=False),
                    "y_change_text": span_text(row, changed),
                }
            )
    return pd.DataFrame(rows)


def _right_halves(table: pd.DataFrame) -> dict[tuple[Any, Any], float]:
    """Of each model and domain, the middle of the domain scores; labels of what is beyond it stand at the left."""
    ends = table.groupby(["model", "domain"])["domain_score"].agg(["min", "max"])
    return {(key[0], key[1]): float(middle) for key, middle in ((ends["min"] + ends["max"]) / 2).items()}  # type: ignore[index]


def _bounds(results: Results, pair: Pair) -> tuple[tuple[str, ...], str]:
    """The accepted losses, and the one that the pair's headline is about."""
    table = pair.rows(results.tables["recommendation"])
    bounds = sorted({float(bound) for bound in table["bound"] if bound > 0})
    taken = table.loc[table["verdict"].isin(TAKE) & (table["bound"] > 0), "bound"]
    return tuple(map(points_text, bounds)), points_text(taken.min() if len(taken) else bounds[-1])


def _key(value: Any) -> Any:
    return None if pd.isna(value) else value


def _nats(results: Results, points: pd.DataFrame) -> pd.DataFrame:
    """Each point once: x is the code length of the right responses, y the divergence from the base."""
    rows = points[points["benchmark"] == GENERAL].reset_index(drop=True)
    table = _clean(results.tables["tradeoff"])
    for axis, column in (("x", f"domain_{CODE_LENGTH}"), ("y", BASE_TEXT)):
        for end in ("", "_low", "_high"):
            rows[f"{axis}{end}"] = table[f"{column}{end}"].to_numpy()
    told = table.to_dict("records")
    rows["domain_text"] = [span_text(row, f"domain_{CODE_LENGTH}", sign=False) for row in told]
    rows["domain_change_text"] = [span_text(row, f"domain_{CODE_LENGTH}_change") for row in told]
    rows["y_text"] = [span_text(row, BASE_TEXT, sign=False) for row in told]
    return rows


def _changes(results: Results) -> pd.DataFrame:
    """Each point once for each benchmark, its domain first, in long form."""
    table = _clean(results.tables["tradeoff"])
    table = table[table["method"] != BASE]
    columns = {"domain": "domain_change", **{name: f"{name}_change" for name in results.general}}
    columns["code length"] = f"domain_{CODE_LENGTH}_change"
    parts = []
    for name, column in columns.items():
        part = table[["model", "domain", "method", "rate", "rank", "learning_rate"]].copy()
        for end in ("", "_low", "_high"):
            part[f"change{end}"] = table[f"{column}{end}"]
        parts.append(part.assign(benchmark=name))
    rows = pd.concat(parts, ignore_index=True)
    rows["text"] = [span_text(row, "change") for row in rows.to_dict("records")]
    return rows


def _numbers(rows: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """The table beside a figure."""
    keys = {name: name for name in ("model", "domain", "method", "rate") if name in rows}
    return rows[[*keys, *columns]].rename(columns=columns)


def _alt(results: Results, what: str, x: str, y: str) -> str:
    """What a plot shows, with the extremes of each model and domain."""
    told = []
    for pair, rows in results.tables["tradeoff"].groupby(["model", "domain"], sort=False):
        base = rows[rows["method"] == BASE].iloc[0]
        tuned = rows[rows["method"] != BASE]
        most = []
        for side, column in (("on the domain", x), ("in general", y)):
            best = tuned.iloc[int(tuned[column].astype(float).argmax())]
            point = point_text(best["method"], best["learning_rate"])
            most.append(f"most {side} has {point} ({best[x]:z.3f}, {best[y]:z.3f})")
        start = f"the base has {base[x]:z.3f} on the domain and {base[y]:z.3f} in general"
        told.append(f"{Pair(*map(str, pair))}: {start}; {'; '.join(most)}")
    return f"{what}. {'; '.join(told)}."


# Charts

Panel = Callable[[bool], Spec]  # without rows; whether it is shown on the page
ROWS = alt.NamedData(name="rows")


@dataclass(frozen=True)
class _Plane:
    """What the axes of a scatter plot are."""

    x: str
    y: str
    backwards: bool = False


SCORES = _Plane("domain score →", f"↑ {GENERAL}")
NATS = _Plane(
    "code length of the right responses, nats per token, falls →",
    "↑ KL from the base on its own text, nats per token, falls",
    True,
)
START = {SCORES: {"benchmark": GENERAL}, NATS: {}}


class _Style:
    """Encodings that all charts of a study share."""

    def __init__(self, results: Results) -> None:
        self.looks = looks(results.methods)
        self.ranks = len(results.rates)
        names = [look.method for look in self.looks]
        self.colours = alt.Scale(domain=names, range=[look.colour for look in self.looks])
        self.shapes = alt.Scale(domain=names, range=[look.shape for look in self.looks])

    def colour(self) -> alt.Color:
        """Of lines."""
        return alt.Color("method:N", scale=self.colours, legend=None)

    def marks(self, shown: bool) -> dict[str, Any]:
        """Of points; a key for all panels stands above them."""
        return {
            "stroke": alt.Stroke("method:N", scale=self.colours, legend=None),
            "shape": alt.Shape("method:N", scale=self.shapes, legend=None),
            "size": alt.Size(
                "rank:Q", scale=alt.Scale(domain=[0, max(1, self.ranks - 1)], range=[40, 150]), legend=None
            ),
            "opacity": _opacity(1.0, shown),
        }

    def key(self) -> Spec:
        """All methods with their marks, in a line, or in several with columns where one is too long."""
        widths = [30 + 8 * len(look.method) for look in self.looks]
        if sum(widths) > LINE:
            widths = [max(widths)] * len(widths)
        rows: list[dict[str, Any]] = []
        at, line = 0, 0
        for look, wide in zip(self.looks, widths, strict=True):
            if at and at + wide > LINE:
                at, line = 0, line + 1
            rows.append({"method": look.method, "at": at, "text": at + 12, "end": at + wide, "line": line})
            at += wide
        width = max(row["end"] for row in rows)
        chart = alt.Chart(ROWS).encode(y=alt.Y("line:O", axis=None))

        def x(name: str) -> alt.X:
            return alt.X(f"{name}:Q", scale=alt.Scale(domain=[0, width], nice=False), axis=None)

        fill = alt.Fill("method:N", scale=self.colours, legend=None)
        shape = alt.Shape("method:N", scale=self.shapes, legend=None)
        layers = alt.layer(
            chart.mark_point(filled=True, size=90, opacity=1).encode(x=x("at"), shape=shape, fill=fill),
            chart.mark_text(align="left", fontSize=12, color=INK).encode(x=x("text"), text="method:N"),
        ).properties(width=width, height=20 * (line + 1))
        return {**_bare(layers), "data": {"values": rows}}

    @property
    def names(self) -> int:
        """Pixels of the longest name beside an axis."""
        return min(NAME, max(_pixels(look.method) for look in self.looks))

    def order(self) -> list[str]:
        """Names in the study's order."""
        return [look.method for look in self.looks]


def _opacity(full: float, shown: bool, hover: bool = False, together: float = 1.0, hidden: str = "") -> Any:
    """Less where the page's key has picked other methods, and 1 under the pointer; a part where none is picked.

    None where the parameter `hidden` says so, but under the pointer.
    """
    if not shown:
        return alt.value(full * together)
    conditions: list[dict[str, Any]] = [{"param": "hover", "empty": False, "value": 1}] if hover else []
    if hidden:
        conditions.append({"test": f"{hidden} === 'hidden'", "value": 0})
    conditions.append({"test": "only.length === 0", "value": full * together})
    conditions.append({"test": "indexof(only, datum.method) >= 0", "value": full})
    return alt.OpacityValue(full * 0.12, condition=conditions)


def _pixels(text: str) -> int:
    """About the width of a text in a figure, rather too much than too little."""
    return 7 * len(text)


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a spec has them inline: no limit, no name that a counter made."""
    return json.loads(rows.to_json(orient="records", double_precision=10))


def _bare(chart: alt.TopLevelMixin) -> Spec:
    """A chart of `ROWS` as a spec without them; with them, altair would copy them for every layer, and again."""
    spec: Spec = chart.to_dict(validate=False)
    return {name: part for name, part in spec.items() if name not in ("$schema", "config", "data")}


def _shown(
    results: Results,
    rows: pd.DataFrame,
    panel: Panel,
    start: dict[str, str] | None = None,
    others: dict[str, str] | None = None,
) -> Spec:
    """A panel of the page: as wide as its place, and of what the page's selects choose.

    Args:
        results: Of the study.
        rows: Of all that can be chosen.
        panel: Of them.
        start: Columns by which rows are chosen, and their first values.
        others: Parameters that the panel itself reads, and their first values.
    """
    params = {**results.pairs[0]._asdict(), **(start or {})}
    test = " && ".join(f"datum.{name} === {name}" for name in params)
    chosen = [{"name": name, "value": value} for name, value in {**params, **(others or {}), "only": []}.items()]
    spec = panel(True)
    return {
        **spec,
        "data": {"values": records(rows)},
        "params": [*chosen, *spec.get("params", [])],
        "transform": [{"filter": test}, *spec.get("transform", [])],
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


def _still(results: Results, panels: Sequence[tuple[Panel, pd.DataFrame]], cell: int = WIDTH + 50) -> Spec | alt.Chart:
    """Under a key a block for each model and domain, with each panel that has something of it.

    Args:
        results: Of the study.
        panels: With their rows.
        cell: Pixels that a panel takes with its axis, about; decides how many stand side by side.
    """
    blocks: list[Spec] = []
    drawn = [(panel(False), rows) for panel, rows in panels]
    for pair in results.pairs:
        of_pair = [(c, pair.rows(rows)) for c, rows in drawn]
        charts = [{**c, "data": {"values": records(rows)}} for c, rows in of_pair if len(rows)]
        if charts:
            title = {"text": str(pair), "fontSize": 15, "offset": 14}
            apart = {"scale": {"x": "independent", "y": "independent"}}
            blocks.append({"concat": charts, "columns": LINE // (cell + GAP), "title": title, "resolve": apart})
    if not blocks:
        return _nothing("There is nothing to show in this study.")
    return {"vconcat": [_Style(results).key(), *blocks]}


def _nothing(text: str) -> alt.Chart:
    return alt.Chart(alt.Data(values=[{"text": text}])).mark_text(fontSize=13, color=INK).encode(text="text:N")


def _title(text: Any) -> alt.TitleParams:
    """An axis title that stands level, above the axis."""
    return alt.TitleParams(text=text, fontWeight="normal", fontSize=12)


def _plane(style: _Style, plane: _Plane, shown: bool) -> Spec:
    """A scatter plot of all points with their intervals, and how each stands at a bound on the loss."""
    scale = alt.Scale(zero=False, nice=False, padding=14, reverse=plane.backwards)
    x = alt.X(
        "x:Q",
        scale=scale,
        axis=alt.Axis(
            title=plane.x, titleAnchor="start" if plane.backwards else "end", titleAlign="right", tickCount=6
        ),
    )
    y = alt.Y("y:Q", scale=scale, axis=alt.Axis(title=None, tickCount=6))
    at = "bound" if shown else "datum.headline"
    every = alt.Chart(ROWS)
    base = every.transform_filter(f"datum.method === '{BASE}'")
    tuned = every.transform_filter(f"datum.method !== '{BASE}'").transform_calculate(standing=f"datum[{at}]")
    reach = {"color": style.colour(), "opacity": _opacity(0.3, shown, hover=True, hidden="intervals")}
    filled = alt.Fill("method:N", scale=style.colours, legend=None)
    fill = alt.condition(_stands_as(OFFERED, EQUIVALENT, SAFE), filled, alt.value("white"))
    marks = tuned.mark_point(strokeWidth=1.7).encode(x=x, y=y, fill=fill, tooltip=_tooltip(plane), **style.marks(shown))
    if shown:
        hover = alt.selection_point(
            name="hover", fields=["method", "rate"], on="pointerover", clear="pointerout", empty=False
        )
        marks = marks.properties(name="points").add_params(hover)
    line = base.mark_rule(strokeDash=[3, 3], color=MUTED, opacity=0.5)
    title = alt.expr("'↑ ' + benchmark") if shown and plane == SCORES else plane.y
    return _bare(
        alt.layer(
            line.encode(x=x),
            line.encode(y=y),
            tuned.mark_rule().encode(x="x_low:Q", x2="x_high:Q", y=y, **reach),
            tuned.mark_rule().encode(x=x, y="y_low:Q", y2="y_high:Q", **reach),
            tuned.mark_line(strokeWidth=1.4).encode(
                x=x, y=y, order="rank:Q", color=style.colour(), opacity=_opacity(0.75, shown)
            ),
            _rings(tuned).encode(x=x, y=y),
            marks,
            tuned.mark_text(fontSize=13, aria=False).encode(
                x=x,
                y=y,
                text=alt.condition("datum.dominated", alt.value("×"), alt.value("")),
                color=alt.condition(_stands_as(OFFERED, EQUIVALENT, SAFE), alt.value("white"), alt.value(INK)),
            ),
            *(chart.encode(x=x, y=y) for chart in _names(tuned)),
            base.mark_point(shape=STAR, filled=True, size=110, color=INK, opacity=1).encode(
                x=x, y=y, tooltip=_tooltip(plane, standing=False)
            ),
            base.mark_text(align="left", dx=9, dy=-9, color=INK, fontSize=12, text=BASE).encode(x=x, y=y),
            *(_limit(base, scale, at) if plane == SCORES else []),
        ).properties(width=WIDTH, height=400, title=_title(title))
    )


def _rings(tuned: alt.Chart) -> alt.Chart:
    """Around what is offered, and around what is as good."""
    heavy = alt.StrokeWidthValue(1.0, condition={"test": _stands_as(OFFERED, ESTIMATE), "value": 2.2})
    dashed = alt.StrokeDashValue([1, 0], condition={"test": _stands_as(ESTIMATE), "value": [4, 3]})
    seen = alt.OpacityValue(0, condition={"test": _stands_as(OFFERED, ESTIMATE, EQUIVALENT), "value": 1})
    ring = tuned.mark_point(shape="circle", filled=False, size=420, color=INK, aria=False)
    return ring.encode(strokeWidth=heavy, strokeDash=dashed, opacity=seen)


def _names(tuned: alt.Chart) -> list[alt.Chart]:
    """What is offered, to the left of points in the right half and to the right of the others."""
    about = f"({_stands_as(OFFERED)} ? 'take ' : {_stands_as(ESTIMATE)} ? 'best estimate: ' : '')"
    return [
        tuned.transform_calculate(
            called=f"{about} && datum.right === {json.dumps(right)} ? {about} + datum.method + ' at ' + datum.rate : ''"
        )
        .mark_text(align="right" if right else "left", dy=-18, fontSize=12, fontWeight="bold", color=INK)
        .encode(text="called:N")
        for right in (True, False)
    ]


def _stands_as(*words: str) -> str:
    """An expression: how a point stands is one of these words."""
    return f"indexof({json.dumps(words)}, datum.standing) >= 0"


def _limit(base: alt.Chart, scale: alt.Scale, at: str) -> list[alt.Chart]:
    """The accepted loss, which is one of the general score."""
    line = base.transform_calculate(
        limit=f"datum.y - toNumber(split({at}, ' ')[0]) / 100", told=f"{at} + ' below the base'"
    )
    of_limit = alt.Y("limit:Q", scale=scale, axis=alt.Axis(title=None, tickCount=6))
    seen = alt.OpacityValue(0, condition={"test": f"datum.benchmark === '{GENERAL}'", "value": 1})
    return [
        line.mark_rule(strokeDash=[9, 4], strokeWidth=1.4, color=LIMIT).encode(y=of_limit, opacity=seen),
        line.mark_text(align="right", baseline="top", dx=-4, dy=4, fontSize=11, color=LIMIT).encode(
            x={"value": "width"}, y=of_limit, text="told:N", opacity=seen
        ),
    ]


def _tooltip(plane: _Plane, standing: bool = True) -> list[alt.Tooltip]:
    x, y = ("domain score", "general") if plane == SCORES else ("code length", "KL from base")
    told = {"method": "method", "recipe": "recipe", "rate": "learning rate", "seeds": "seeds"}
    told |= ({"standing": "is"} if standing else {}) | {"domain_text": x}
    told |= {"domain_change_text": f"{x}, change", "y_text": y}
    told |= {"benchmark": "benchmark", "y_change_text": f"{y}, change"} if plane == SCORES else {}
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in (told | {"runs": "runs"}).items()]


ONE = "(method)"  # in a chart that is drawn for each method
_OF_RATE = ["method", "rate", "rank", "learning_rate"]


def _against_rate(style: _Style, rates: list[float], axis: str, width: int, shown: bool) -> Spec:
    """The score of the method `ONE` against the learning rate, before all others."""
    every = alt.Chart(ROWS)
    base = every.transform_filter(f"datum.method === '{BASE}'")
    others = every.transform_filter(f"datum.method !== '{BASE}'")
    own = every.transform_filter(f"datum.method === '{ONE}'")
    x = alt.X(
        "learning_rate:Q",
        scale=alt.Scale(type="log", domain=[rates[0] / 1.6, rates[-1] * 1.6], nice=False),
        axis=alt.Axis(title="learning rate", values=rates, format=".2~e", grid=False, labelOverlap="greedy"),
    )
    scale = alt.Scale(zero=False, nice=False, padding=8)
    y = alt.Y(f"{axis}:Q", scale=scale, axis=alt.Axis(title=None, tickCount=5))
    low, high = alt.Y(f"{axis}_low:Q", scale=scale), f"{axis}_high:Q"
    text, side = ("domain_text", "domain") if axis == "x" else ("y_text", "general")
    told = {"method": "method", "rate": "rate", text: "score"}
    title: Any = f"{ONE}, {side}"
    if shown and axis == "y":
        title = alt.expr(f"'{ONE}, ' + replace(benchmark, ' score', '')")
    return _bare(
        alt.layer(
            others.mark_rule(opacity=0).encode(x=x, y=low, y2=high),  # one scale for all panels
            others.mark_line(color="#bdbdbd", strokeWidth=1).encode(x=x, y=y, detail="method:N"),
            own.mark_area(opacity=0.16).encode(x=x, y=low, y2=high, color=style.colour()),
            own.mark_rule(opacity=0.45).encode(x=x, y=low, y2=high, color=style.colour()),
            base.mark_rule(strokeDash=[3, 3], color=INK, opacity=0.8).encode(y=y),
            own.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=style.colour()),
            own.mark_point(filled=True).encode(
                x=x,
                y=y,
                fill=alt.Fill("method:N", scale=style.colours, legend=None),
                tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in told.items()],
                **style.marks(shown) | {"size": alt.value(45)},
            ),
        ).properties(width=width, height=170, title=_title(title))
    )


def _of_method(charts: dict[tuple[str, bool], Spec], axis: str, method: str, shown: bool) -> Spec:
    """The chart of one method: a name has no character that JSON or an expression escapes."""
    return json.loads(json.dumps(charts[axis, shown]).replace(ONE, method))


def _both(charts: dict[tuple[str, bool], Spec], method: str, shown: bool) -> Spec:
    """One method's domain score above its general score, which stay together where a line of panels is full."""
    return {"vconcat": [_of_method(charts, axis, method, shown) for axis in ("x", "y")]}


def _way(style: _Style, side: str, shown: bool) -> Spec:
    """One change against the fraction of the training."""
    chart = alt.Chart(ROWS)
    x = alt.X(
        "fraction:Q", axis=alt.Axis(title="fraction of the training →", titleAnchor="end", format="~g", grid=False)
    )
    scale = alt.Scale(zero=False, nice=False, padding=10)
    y = alt.Y(f"{side}_change:Q", scale=scale, axis=alt.Axis(title=None, tickCount=6, **_signed(True)))
    low, high = f"{side}_change_low:Q", f"{side}_change_high:Q"
    band = _opacity(0.07, shown, together=min(1, 6 / len(style.looks)))  # bands of many would hide the lines
    told = {"method": "method", "rate": "rate", "fraction": "fraction", "step": "step", f"{side}_text": "change"}
    return _bare(
        alt.layer(
            _zero("y"),
            chart.mark_area().encode(x=x, y=alt.Y(low, scale=scale), y2=high, color=style.colour(), opacity=band),
            chart.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=style.colour(), opacity=_opacity(1.0, shown)),
            chart.mark_point(filled=True).encode(
                x=x,
                y=y,
                fill=alt.Fill("method:N", scale=style.colours, legend=None),
                tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in told.items()],
                **style.marks(shown) | {"size": alt.value(50)},
            ),
        ).properties(width=WIDTH, height=300, title=_title(f"{side} change"))
    )


@dataclass(frozen=True)
class _Dots:
    """A dot plot: a line a method."""

    value: str
    title: str
    axis: str
    offset: str | None = None  # a line of its own for each value of this column
    zero: bool = True
    note: str | None = None  # a column that is told at the right


_HYPERVOLUME = _Dots("hypervolume", "hypervolume", "hypervolume →", zero=False, note="best")


def _dots(style: _Style, dots: _Dots, shown: bool) -> Spec:
    """Estimates with intervals, a row a method."""
    chart = alt.Chart(ROWS)
    x, y, lines = _across(dots.value, dots.axis, dots.zero), alt.Y("method:N", sort=style.order(), title=None), {}
    if dots.offset:
        lines = {"yOffset": alt.YOffset(f"{dots.offset}:O", scale=alt.Scale(paddingOuter=0.15))}
    y = y.axis(grid=False, ticks=False, domain=False, labelColor=INK, labelFontSize=12, labelPadding=8)
    told = (
        {"method": "method", "rate": "rate", "text": dots.title}
        if dots.offset
        else {"method": "method", "text": dots.title}
    )
    low, high = f"{dots.value}_low:Q", f"{dots.value}_high:Q"
    layers = [
        *([_zero("x")] if dots.zero else []),
        chart.mark_rule(strokeWidth=1.3).encode(
            x=low, x2=high, y=y, color=style.colour(), opacity=_opacity(0.7, shown), **lines
        ),
        chart.mark_point(filled=True).encode(
            x=x,
            y=y,
            fill=alt.Fill("method:N", scale=style.colours, legend=None),
            tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in told.items()],
            **style.marks(shown) | ({} if dots.offset else {"size": alt.value(70)}),
            **lines,
        ),
    ]
    if dots.note:
        layers.append(
            chart.mark_text(align="left", dx=8, color=MUTED).encode(x=alt.X(high), y=y, text=f"{dots.note}:N")
        )
    height = len(style.looks) * (12 * style.ranks + 8 if dots.offset else 26)
    return _bare(alt.layer(*layers).properties(width=WIDTH, height=height, title=_title(dots.title)))


def _levels(style: _Style, view: str, count: int, shown: bool) -> Spec:
    """Estimates with intervals, a block a level and a line in it a method."""
    title, value, levels = VIEWS[view]
    chart = alt.Chart(ROWS)
    y = alt.Y("level:O", sort=alt.EncodingSortField(field="at", op="min"))
    y = y.axis(title=levels, grid=True, ticks=False, domain=False, labelColor=INK, labelPadding=8, tickBand="extent")
    lines = alt.YOffset("method:N", sort=style.order(), scale=alt.Scale(domain=style.order(), paddingOuter=0.6))
    told = {"method": "method", "rate": "rate", "level": levels, "text": value}
    return _bare(
        alt.layer(
            _zero("x"),
            chart.mark_rule(strokeWidth=1.3).encode(
                x="value_low:Q",
                x2="value_high:Q",
                y=y,
                yOffset=lines,
                color=style.colour(),
                opacity=_opacity(0.7, shown),
            ),
            chart.mark_point(filled=True).encode(
                x=_across("value", f"{value} →", True),
                y=y,
                yOffset=lines,
                fill=alt.Fill("method:N", scale=style.colours, legend=None),
                tooltip=[alt.Tooltip(f"{name}:N", title=text) for name, text in told.items()],
                **style.marks(shown) | {"size": alt.value(60)},
            ),
        ).properties(width=WIDTH, height=count * (12 * len(style.looks) + 20), title=_title(title))
    )


def _across(value: str, title: str, sign: bool) -> alt.X:
    axis = alt.Axis(title=title, titleAnchor="end", tickCount=5, **_signed(sign))
    return alt.X(f"{value}:Q", scale=alt.Scale(zero=sign, nice=False, padding=12), axis=axis)


def _signed(sign: bool) -> dict[str, Any]:
    return {"format": "+~g", "labelExpr": "datum.value === 0 ? '0' : datum.label"} if sign else {"format": "~g"}


def _zero(axis: str) -> alt.Chart:
    """Where nothing changes: one line, however many rows there are."""
    one = alt.Chart(ROWS).transform_aggregate(rows="count()").transform_calculate(none="0")
    return one.mark_rule(color=INK, opacity=0.7).encode(**{axis: "none:Q"})


def _named(results: Results, name: str) -> str:
    """A benchmark as the title of a panel, with what better means where it is less."""
    if name == "code length":
        return "code length of right responses, nats per token (less is better)"
    if name in results.benchmarks and not results.benchmarks[name].bounded:
        return f"{name}: {results.benchmarks[name].metrics[0]}, nats per token (less is better)"
    return name
