"""Figures of the theory's tables, each with its assumptions beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import pandas as pd

from tradeoff.evaluation import BASE_TEXT
from tradeoff.report.figures import Figure, records
from tradeoff.report.marks import INK, STAR, looks
from tradeoff.study import BASE, canonical_rate

WIDTH, HEIGHT = 300, 240
SPACING: Any = {"row": 20, "column": 40}  # pixels; where panels share an axis, the ends of two do not touch
ALL = "all"
TOKENS = "(tokens)"


def why(tables: Mapping[str, pd.DataFrame]) -> list[Figure]:
    """All of these, in the order of `docs/theory.md`.

    Args:
        tables: By name: `tradeoff`, `trajectory`, `token_difficulty`, `token_weights`, `prediction` and `tilting`.
    """
    tilts, tokens = tables["tilting"], tables["token_difficulty"]
    way = code_length_trajectories(tables["trajectory"])
    return [
        code_length(tables["tradeoff"]),
        *([] if way is None else [way]),
        token_difficulty(tokens),
        weights(tables["token_weights"]),
        prediction(tables["prediction"]),
        tilting_step(tilts),
        theorem_1(tilts),
        theorem_2(tilts),
        leakage(tilts),
        equal_gain(tilts),
    ]


def code_length(table: pd.DataFrame) -> Figure:
    """dL(general) against dL(domain): one curve a method, points by rate; `schemas.tradeoff`."""
    changes = _changes(table.assign(fraction=(table["method"] != BASE).astype(float)), f"{BASE_TEXT}_change")
    chart = _by_pair(changes, lambda rows: _plane(rows, "learning_rate"))
    caption = (
        "Left is more learned and down is less forgotten. Lines join a method's learning rates, the mean over "
        "seeds; the star is the base; bars are 95 % bootstrap intervals of that mean, over items and seeds. dL is the "
        "change of code length against the base on the same items: of right responses for the domain, and of text "
        "that the base wrote for general, where it estimates KL(base || run). Assumed: items are independent "
        "draws; nothing is assumed of the model."
    )
    alt_text = f"Change of general code length against change of domain code length. {_extremes(changes)}"
    return Figure("code_length", chart, caption, alt_text, table=changes.drop(columns=["of_base"]))


def code_length_trajectories(table: pd.DataFrame) -> Figure | None:
    """The same along training, one curve a method and rate; None where no run was measured on its way.

    Args:
        table: In the columns of `schemas.TRAJECTORY`.
    """
    if table.empty:
        return None
    changes = _changes(table, "kl")
    chart = _by_pair(changes, lambda rows: _plane(rows, "fraction"))
    caption = (
        "Each line is a method at one rate from the base (0, 0) to its end, through its checkpoints; left is more "
        "learned and down is less forgotten. Where two lines cross the same gain, the lower one paid less for it. "
        "Assumed: as for the end points; checkpoints of one run share their items and are no independent "
        "evidence."
    )
    alt_text = f"Change of general against domain code length along training. {_extremes(changes)}"
    return Figure("code_length_trajectories", chart, caption, alt_text, table=changes.drop(columns=["of_base"]))


def tilting_step(table: pd.DataFrame) -> Figure:
    """One step: dL exactly, and its bounds."""
    rows = table[table["claim"] == "one step"]
    names = {"change": "exact", "hoeffding": "Hoeffding", "bennett": "Bennett", "second_order": "second order"}
    long = rows.melt(["world", "reading", "step"], list(names), "bound", "nats").replace({"bound": names})
    chart = _lines(
        long,
        "bound",
        _log("step", "step size lambda"),
        alt.Y("nats:Q", title="dL, nats per sequence", scale=alt.Scale(type="symlog", constant=0.001)),
    )
    facets = chart.facet(row=alt.Row("world:N", **_name()), column=alt.Column("reading:N", title=None))
    caption = (
        "One step of tilting with plain SFT's score. Exact: -lambda E_P[r] + log E_q[exp(lambda r)]. Hoeffding "
        "and Bennett bound it from above for any score of that range, or that variance and maximum; second order "
        f"is no bound. Assumed: a step is a tilt, contexts are independent, and {_leak(rows)} of it lands on "
        "general contexts, with the base's own text as general data."
    )
    return Figure("tilting_step", facets.resolve_scale(y="independent"), caption, _seen(rows, "change"), table=rows)


def theorem_1(table: pd.DataFrame) -> Figure:
    """The general cost of a fixed domain gain against the size of the steps."""
    rows = table[table["claim"] == "theorem 1"]
    chart = _lines(
        rows, "reading", _log("step", "step size lambda"), _log("cost", "dL(general), nats per sequence", "y")
    )
    caption = (
        "Theorem 1: for a fixed gain D* on the domain, smaller steps cost less general ability, in proportion to "
        "lambda. Three readings: the base's score in every step (fixed), each step's own (recomputed), or each "
        "step's own from one drawn right token a context (sampled, the mean of draws). The last step is cut so "
        "that the gain is met exactly; no point: it never is. Assumed: a step is a tilt, contexts are "
        f"independent, a leak of {_leak(rows)}, general data are the base's own text."
    )
    return Figure("theorem_1", _facets(chart, 4), caption, _seen(rows, "cost"), table=rows)


def theorem_2(table: pd.DataFrame) -> Figure:
    """The largest safe step, and the cost of a gain, against the number of hard tokens."""
    rows = table[table["claim"] == "theorem 2"]
    parts = []
    for reading, what, title in (
        ("one step", "safe", "largest safe step"),
        ("same nats", "cost", "dL(general), same nats"),
        ("same share", "cost", "dL(general), same share"),
    ):
        of = rows[rows["reading"] == reading]
        y = _log(what, title, "y")
        parts.append(_lines(of, "method", alt.X("hard_tokens:Q", title="hard tokens"), y).properties(title=reading))
    caption = (
        "Theorem 2: the range of safe steps widens as hard tokens become fewer. Three readings: the largest "
        "single step with dL(general) within a budget; the cost of the same gain in nats; the cost of the same "
        "share (half) of what can be gained. No point: the gain is never met. A weighting below 1 shrinks a step, "
        "so that its safe lambda is larger for that alone. Assumed: one response of independent contexts, hard "
        f"tokens at p = 0.02 and the others at 0.9, a leak of {_leak(rows)}, general data are the base's own text."
    )
    return Figure("theorem_2", alt.hconcat(*parts), caption, _seen(rows, "safe"), table=rows)


def leakage(table: pd.DataFrame) -> Figure:
    """The cost of a step, and the leak within a budget, as leakage goes from 0 to 1."""
    rows = table[table["claim"] == "leakage"]
    cost, safe = (rows[rows["reading"] == reading] for reading in ("cost", "safe leak"))
    left = _lines(cost, "leakage", alt.X("leak:Q"), alt.Y("cost:Q", title="dL(general), nats per sequence"))
    right = _lines(
        safe, "leakage", _log("budget", "budget, nats per sequence"), alt.Y("safe:Q", title="largest leak within it")
    )
    caption = (
        "The share of a tilt that lands on general contexts. Strength: each general context gets that share of "
        "its partner's tilt, and the cost grows with its square. Share: general data meet that share of fully "
        "tilted contexts, and the cost grows in proportion. Pooled: every general context gets the mean tilt "
        "times the leak. Assumed: one step of size 1, independent contexts, general data are the base's own text."
    )
    return Figure("leakage", alt.hconcat(_facets(left, 2), _facets(right, 2)), caption, _seen(cost, "cost"), table=rows)


def equal_gain(table: pd.DataFrame) -> Figure:
    """What the same gain in nats costs with each weighting of tokens."""
    rows = table[table["claim"] == "equal gain"]
    rows = rows.assign(place=rows["world"] + ", " + rows["general"] + " text")
    chart = _lines(
        rows, "method", alt.X("gain:Q", title="gain on the domain, nats"), alt.Y("cost:Q", title="dL(general), nats")
    )
    facets = chart.facet(row=alt.Row("place:N", **_name()), column=alt.Column("leakage:N")).resolve_scale(
        x="independent", y="independent"
    )
    caption = (
        "Steps of one size until the domain's code has shortened by a given number of nats. No point: not within "
        "the limit of steps, or never. Assumed: independent contexts; the gain is counted in nats, to which hard "
        "tokens give most. A score that does not need them is not in this model."
    )
    return Figure("equal_gain", facets, caption, _seen(rows, "cost"), table=rows)


def token_difficulty(table: pd.DataFrame) -> Figure:
    """Box plots of p, and the share of easy tokens along training."""
    rows = _named(table[table["kind"] == ALL])
    ends = rows[rows["fraction"].isin((0, 1))]
    caption = (
        "Left: the box is the middle half of the right responses' tokens, the line from 5 to 95 %, the tick the "
        "median. Right: the share that is easy (p > 0.2), with 95 % bootstrap intervals over items. Assumed: "
        "nothing but that items are independent; tokens within one are not, and are drawn together."
    )
    base = ends[ends["method"] == BASE]
    alt_text = "Quantiles of token probabilities of the base and each run. " + " ".join(
        f"Base {row['model']} on {row['domain']}: median {row['p_50']:.2f}, {row['above']:.0%} above 0.2."
        for row in base.to_dict("records")
    )
    return Figure("token_difficulty", _by_pair(ends, _boxes), caption, alt_text, table=rows)


def weights(table: pd.DataFrame) -> Figure:
    """Where the study's methods put their weight in their first step: on hard tokens of each kind; `TOKEN_WEIGHTS`."""
    rows = table[(table["method"] == BASE) & (table["kind"] != ALL)].drop(columns="share")
    keys = ["model", "domain", "kind"]
    tokens = rows.drop_duplicates(keys).assign(weighing=TOKENS, weight_hard=lambda of: of["share_hard"])
    long = pd.concat([tokens, rows])[[*keys, "weighing", "weight_hard"]]
    long = long.rename(columns={"weighing": "method", "weight_hard": "share"})
    chart = (
        alt.Chart(_data(_placed(long)))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of all tokens, or of all weight, that is on hard tokens"),
            y=alt.Y("method:N", title=None, sort=list(long["method"].unique())),
            color=alt.Color("kind:N", scale=_colours(sorted(long["kind"].unique()))),
            tooltip=["method:N", "kind:N", alt.Tooltip("share:Q", format=".4f")],
        )
        .properties(width=WIDTH, height=alt.Step(20))
        .facet(alt.Facet("place:N", **_name()), columns=min(4, long["domain"].nunique()), spacing=SPACING)
    )
    caption = (
        "The first bar is the share of tokens that the base finds hard (p of at most 0.2), by kind; the others "
        "are the share of its weight that a method of the study puts on them at its first step. "
        "Assumed: the test items stand for a training batch."
    )
    totals = long.groupby("method", sort=False)["share"].sum() / max(
        1, len(long[["model", "domain"]].drop_duplicates())
    )
    seen = "; ".join(f"{name} {share:.1%}" for name, share in totals.items())
    return Figure("weights", chart, caption, f"Bars of the share on hard tokens: {seen}.", table=long)


def prediction(table: pd.DataFrame) -> Figure:
    """Rank correlations of predicted and measured general cost."""
    rows = table.dropna(subset=["rho"])
    y = alt.Y("prediction:N", title=None, sort=list(dict.fromkeys(rows["prediction"])))
    offset = alt.YOffset("control:N", sort=["none", "delta_norm"])
    colour = alt.Color("control:N", scale=_colours(["none", "delta_norm"]), title="given")
    chart = alt.Chart().encode(y=y, yOffset=offset, color=colour)
    zero = alt.Chart().mark_rule(strokeDash=[3, 3]).encode(x=alt.datum(0))
    layers = alt.layer(
        zero,
        chart.mark_rule().encode(
            x=alt.X("rho_low:Q", title="rank correlation", scale=alt.Scale(domain=[-1, 1])), x2="rho_high:Q"
        ),
        chart.mark_point(filled=True, size=60).encode(x="rho:Q"),
        data=_data(_placed(rows)),
    ).properties(width=WIDTH, height=alt.Step(24))
    facets = layers.facet(
        column=alt.Column("outcome:N", title=None), row=alt.Row("place:N", **_name()), spacing=SPACING
    )
    caption = (
        "Spearman's correlation, over a study's runs, of what theory predicts with the general cost that was "
        "measured, with 95 % bootstrap intervals over runs; given delta_norm, the partial one at like distance "
        "from the base. Assumed: runs are exchangeable. They share items and data, so that the intervals are too "
        "narrow."
    )
    seen = "; ".join(
        f"{r['prediction']} with {r['outcome']} given {r['control']}: {r['rho']:.2f}" for r in rows.to_dict("records")
    )
    return Figure("prediction", facets, caption, f"Rank correlations: {seen}.", table=rows)


def _changes(table: pd.DataFrame, general: str) -> pd.DataFrame:
    """`x` is dL(domain) and `y` dL(general), if that was measured, with their intervals.

    On text that the base wrote, dL(general) is what is called `kl` in the tables.
    """
    keys = ["model", "domain", "method", "learning_rate", "fraction"]
    columns = {
        f"{name}{end}": f"{axis}{end}"
        for axis, name in (("x", "domain_code_length_change"), ("y", general))
        for end in ("", "_low", "_high")
    }
    rows = table.reindex(columns=[*keys, *columns]).rename(columns=columns).reset_index(drop=True)
    rows[list(columns.values())] = rows[list(columns.values())].astype("Float64").astype(float)
    rates = [ALL if pd.isna(rate) else canonical_rate(float(rate)) for rate in rows["learning_rate"]]
    return rows.assign(of_base=rows["method"] == BASE, rate=rates, line=rows["method"] + " " + pd.Series(rates))


def _plane(rows: pd.DataFrame, order: str) -> alt.LayerChart:
    """The two changes against each other, lines in the order of a column."""
    names = list(dict.fromkeys(rows.loc[~rows["of_base"], "method"]))
    colour = alt.Color("method:N", scale=_colours(names), title=None)
    x = alt.X("x:Q", title="dL(domain), nats per token", scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title="dL(general), nats per token", scale=alt.Scale(zero=False))
    runs = alt.Chart(_data(rows[~rows["of_base"]]))
    detail = "method:N" if order == "learning_rate" else "line:N"
    tooltip = ["method:N", "rate:N", "fraction:Q", alt.Tooltip("x:Q", format=".3f"), alt.Tooltip("y:Q", format=".3f")]
    marks = {"x": x, "y": y, "color": colour}
    layers: list[Any] = [
        runs.mark_line().encode(**marks, detail=detail, order=f"{order}:Q"),
        runs.mark_point(size=55).encode(
            **marks, shape=alt.Shape("method:N", scale=_shapes(names), title=None), tooltip=tooltip
        ),
    ]
    if order == "learning_rate":
        faint = runs.mark_rule(opacity=0.35)
        layers.append(faint.encode(x="x_low:Q", x2="x_high:Q", y=y, color=colour))
        layers.append(faint.encode(y="y_low:Q", y2="y_high:Q", x=x, color=colour))
    start = alt.Chart(_data(pd.DataFrame([{"x": 0.0, "y": 0.0}])))
    layers.append(start.mark_point(shape=STAR, size=130, filled=True, color=INK).encode(x=x, y=y))
    return alt.LayerChart(layer=layers, width=WIDTH * 1.3, height=HEIGHT * 1.3)


def _boxes(rows: pd.DataFrame) -> alt.HConcatChart:
    """Quantiles of p, and shares above the threshold, a line for each state."""
    chart, scale = alt.Chart(_data(rows)), alt.Scale(domain=[0, 1])
    y = alt.Y("name:N", title=None, sort=list(dict.fromkeys(rows["name"])))
    whole = alt.X("p_05:Q", scale=scale, title="p of supervised tokens")
    box = [
        chart.mark_rule(color=INK).encode(y=y, x=whole, x2="p_95:Q"),
        chart.mark_bar(size=9, opacity=0.45).encode(y=y, x="p_25:Q", x2="p_75:Q"),
        chart.mark_tick(color=INK, thickness=2, size=11).encode(y=y, x="p_50:Q"),
    ]
    share = alt.X("above:Q", scale=scale, title="share of tokens with p > 0.2")
    easy = [
        chart.mark_rule(color=INK).encode(y=y, x=alt.X("above_low:Q", scale=scale), x2="above_high:Q"),
        chart.mark_point(filled=True).encode(y=y, x=share),
    ]
    return alt.hconcat(*(alt.layer(*layers).properties(width=WIDTH, height=alt.Step(16)) for layers in (box, easy)))


def _by_pair(rows: pd.DataFrame, draw: Callable[[pd.DataFrame], Any]) -> alt.VConcatChart:
    """One chart for each model and domain, under its name."""
    charts = [
        draw(group).properties(title=f"{model} on {domain}")
        for (model, domain), group in rows.groupby(["model", "domain"], sort=False)
    ]
    return alt.vconcat(*charts)


def _lines(rows: pd.DataFrame, series: str, x: alt.X, y: alt.Y) -> alt.Chart:
    """One line for each value of a column."""
    names = list(dict.fromkeys(rows[series]))
    return (
        alt.Chart(_data(rows))
        .mark_line(point={"filled": True, "size": 45})
        .encode(
            x=x,
            y=y,
            color=alt.Color(f"{series}:N", scale=_colours(names), title=series),
            shape=alt.Shape(f"{series}:N", scale=_shapes(names), title=series),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def _log(column: str, title: str, axis: str = "x") -> Any:
    """A logarithmic axis; values of 0 and below have no place on it."""
    return (alt.X if axis == "x" else alt.Y)(f"{column}:Q", title=title, scale=alt.Scale(type="log"))


def _facets(chart: alt.Chart, columns: int) -> alt.FacetChart:
    """A panel for each world, each with its own axis of values."""
    facets = chart.facet(alt.Facet("world:N", **_name()), columns=columns)
    return facets.resolve_scale(x="independent", y="independent")


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(place=rows["model"] + " on " + rows["domain"])


def _name() -> dict[str, Any]:
    """How a facet is headed: a model and its domain in two lines where they are too long for one."""
    two = "length(datum.label) > 45 ? split(datum.label, ' on ') : datum.label"
    return {"title": None, "header": alt.Header(labelExpr=two)}


def _colours(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, range=[look.colour for look in looks(names)])


def _shapes(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, range=[look.shape for look in looks(names)])


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """With a name for each state, and columns whose names Vega reads as they are."""
    columns = {f"share_above_0.2{end}": f"above{end}" for end in ("", "_low", "_high")}
    rates = ["" if pd.isna(rate) else f" {canonical_rate(float(rate))}" for rate in table["learning_rate"]]
    seeds = ["" if pd.isna(seed) else f" seed {seed}" for seed in table["seed"]]
    names = [method + rate + seed for method, rate, seed in zip(table["method"], rates, seeds, strict=True)]
    return table.rename(columns=columns).drop(columns=list(table.filter(like="0.5"))).assign(name=names)


def _leak(rows: pd.DataFrame) -> str:
    return f"{float(rows['leak'].dropna().iloc[0]):.0%}"


def _seen(rows: pd.DataFrame, column: str) -> str:
    """The range of a column, in words."""
    values = rows[column].dropna()
    worlds = ", ".join(dict.fromkeys(rows["world"]))
    return f"Lines of {column} in nats or steps, from {values.min():.3g} to {values.max():.3g}; worlds: {worlds}."


def _extremes(changes: pd.DataFrame) -> str:
    """Which point learned most, and which forgot most."""
    runs = changes[~changes["of_base"]]
    words = [
        f"{what} {row['line']} ({row[column]:+z.3f} nats per token)"
        for what, column, row in (
            ("Most is learned by", "x", runs.sort_values("x").to_dict("records")[0]),
            ("most is forgotten by", "y", runs.sort_values("y", ascending=False).to_dict("records")[0]),
        )
    ]
    return "; ".join(words) + "."


def _data(rows: pd.DataFrame) -> alt.Data:
    return alt.Data(values=records(rows))
