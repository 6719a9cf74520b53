"""The sections of a study's page, from the answer down to every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tradeoff.report import flips
from tradeoff.report.figures import Choice, Figure
from tradeoff.report.marks import looks
from tradeoff.report.page import Section, page, render
from tradeoff.report.results import Pair, Results, number, plural, point_text, points_text, rate_text, span_text
from tradeoff.study import BASE
from tradeoff.tables.recommendation import headline
from tradeoff.tables.replicates import Metric
from tradeoff.tables.scores import general_mean
from tradeoff.tables.verdicts import NOT_ENOUGH, NOTHING, TAKE, UNSHOWN

MARKS = {
    **dict.fromkeys(TAKE, "yes"),
    NOT_ENOUGH: "open",
    NOTHING: "no",
    "supported": "yes",
    "open": "open",
    "contradicted": "no",
}
# Whose versions can move a number or a figure.
PACKAGES = (
    *("accelerate", "altair", "datasets", "gguf", "lm_eval", "moocore", "numpy", "pandas", "peft", "pyarrow"),
    *("safetensors", "scipy", "snakemake", "tokenizers", "torch", "transformers", "vl-convert-python"),
)
GLYPH = (220, 16)  # pixels


def report(results: Results, drawn: Sequence[Figure], more: Sequence[Section] = ()) -> str:
    """The page of a study.

    Args:
        results: What it left.
        drawn: Its figures, as of `figures.all_figures`.
        more: Sections between the study's own figures and its runs.
    """
    first = results.pairs[0]
    choices = (
        Choice("model", "Model", tuple(dict.fromkeys(pair.model for pair in results.pairs)), first.model),
        Choice("domain", "Domain", tuple(dict.fromkeys(pair.domain for pair in results.pairs)), first.domain),
    )
    sections = [*answers(results, drawn), *more, *records(results)]
    return page(str(results.study["study"]), _lead(results), sections, choices, looks(results.methods))


def why(drawn: Sequence[Figure]) -> Section:
    """What the paper's theory says, on the study's own runs and on a model that is solved exactly."""
    text = "Each claim, its formula and what was found: <code>docs/theory.md</code>. Assumptions are below each figure."
    return Section("Why", render("say", text=Markup(text)), tuple(drawn))


def answers(results: Results, drawn: Sequence[Figure]) -> list[Section]:
    """What a study says: the recommendation, the figures, the hypotheses."""
    tables = results.tables
    of = {figure.name: figure for figure in drawn}
    way = (of["trajectory"],) if "trajectory" in of else ()
    none = "" if way else "This study has no <code>trajectory:</code>, so nothing is known of the way of a training."
    sections = [
        Section("Recommendation", _headlines(results)),
        Section("The trade-off", figures=(of["pareto"],)),
        Section("Accepted losses", _bounds(results)),
        Section("Learning rates", figures=(of["rates"],)),
        Section("Each benchmark", figures=(of["changes"],)),
        Section("On the way", render("say", text=Markup(none)), way),
        Section("Fair views", figures=(of["views"], of["hypervolume"])),
        Section("Hypotheses", _hypotheses(results)),
    ]
    if not tables["against_paper"].empty:
        sections.append(Section("Against the paper", _against_paper(results)))
    return sections


def records(results: Results) -> list[Section]:
    """Where the numbers come from: runs, items, settings."""
    asked = flips.wanted(*(results.tables[name] for name in ("recommendation", "tradeoff", "scores")))
    found = flips.flips(results.tables["samples"], asked, results.benchmarks, results.scored)
    return [
        Section("Runs", _runs(results)),
        Section("Answers that flipped", render("flips", found=found)),
        Section("Provenance", _provenance(results)),
        Section("Settings", _settings(results)),
    ]


def _lead(results: Results) -> str:
    counts = {"method": len(results.methods), "learning rate": len(results.rates), "pair": len(results.pairs)}
    methods, rates, pairs = (f"{count} {name}{plural(count)}" for name, count in counts.items())
    return f"{methods} at {rates}, on {pairs} of model and domain. {results.settings}"


# Recommendation


def _headlines(results: Results) -> Markup:
    """What to act on, a sentence for each model and domain."""
    table = results.tables["recommendation"]
    told = [(pair, headline(pair.rows(table).to_dict("records"))) for pair in results.pairs]
    return render("headlines", told=told)


def _bounds(results: Results) -> Markup:
    """What to take for each bound on the loss."""
    table = results.tables["recommendation"]
    blocks = []
    for pair in results.pairs:
        rows = pair.rows(table).to_dict("records")
        shown = [row for row in rows if row["verdict"] != UNSHOWN]
        reach = _reach(shown)
        blocks.append(
            {
                "pair": pair,
                "rows": [_advice(row, reach) for row in shown],
                "unshown": [row["reason"] for row in rows if row["verdict"] == UNSHOWN],
                "caveat": next((row["caveat"] for row in rows if row["caveat"]), ""),
            }
        )
    return render("bounds", blocks=blocks, tolerance=points_text(table["tolerance"].iloc[0]))


def _advice(row: Mapping[Any, Any], reach: tuple[float, float]) -> dict[str, Any]:
    """One bound in words."""
    point, bound = point_text(row["method"], row["learning_rate"]), float(row["bound"])
    regret = number(row["regret"])
    return {
        "bound": points_text(bound),
        "verdict": row["verdict"],
        "mark": MARKS[row["verdict"]],
        "point": point,
        "changes": [
            {
                "name": side,
                "text": span_text(row, f"{side}_change"),
                "glyph": _glyph(row, f"{side}_change", reach, limit),
            }
            for side, limit in (("domain", None), ("general", -bound))
            if point
        ],
        "regret": "" if regret is None else points_text(regret),
        "equivalent": row["equivalent"] or "",
        "reason": row["reason"],
        "needs": row["needs"] or "",
    }


def _reach(rows: list[dict[Any, Any]]) -> tuple[float, float]:
    """What the glyphs of one model and domain have to hold."""
    names = [f"{side}_change{end}" for side in ("domain", "general") for end in ("", "_low", "_high")]
    found = [number(row[name]) for row in rows for name in names] + [-float(row["bound"]) for row in rows] + [0.0, 0.01]
    values = [value for value in found if value is not None]
    return min(values), max(values)


def _glyph(row: Mapping[Any, Any], name: str, reach: tuple[float, float], limit: float | None) -> dict[str, Any]:
    """Places in pixels of an interval on a line that the rows of a block share."""
    low, high = reach
    width = GLYPH[0] - 12

    def at(value: float | None) -> float | None:
        return None if value is None else round(6 + width * (value - low) / (high - low), 1)

    ends = {end: at(number(row[f"{name}{end}"])) for end in ("", "_low", "_high")}
    return {"zero": at(0.0), "limit": at(limit), "at": ends[""], "low": ends["_low"], "high": ends["_high"]}


# Tables


def _hypotheses(results: Results) -> Markup:
    rows = [
        {**row, "mark": MARKS[row["verdict"]], "estimate_text": span_text(row, "estimate")}
        for row in results.tables["hypotheses"].to_dict("records")
    ]
    return render("hypotheses", rows=rows)


def _against_paper(results: Results) -> Markup:
    rows = [
        {
            **row,
            "point": point_text(row["method"], row["learning_rate"]),
            "ours_text": span_text(row, "ours", sign=False),
        }
        for row in results.tables["against_paper"].to_dict("records")
    ]
    return render("against_paper", rows=rows)


def _runs(results: Results) -> Markup:
    """One row a run; a column a benchmark, of its first metric."""
    first = {name: Metric.of(name, benchmark.metrics[0]) for name, benchmark in results.benchmarks.items()}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for score in results.tables["scores"].to_dict("records"):
        name = score["benchmark"]
        if (name, score["metric"], score["filter"]) != first[name]:
            continue
        for pair in results.pairs:
            if pair.model == score["model"] and _concerns(score, pair, results):
                row = rows.setdefault((score["run_id"], pair.domain), _run(score, pair))
                row["values"]["domain" if name == pair.domain else name] = float(score["value"])
    for (_, domain), row in rows.items():
        parts = {name: np.array(row["values"].get(name, np.nan)) for name in results.scored[domain]}
        mean = float(general_mean(parts, results.scored[domain]))
        row["values"]["general"] = None if np.isnan(mean) else mean
    names = ["domain", "general", *results.general]
    return render("runs", rows=list(rows.values()), names=names, several=len(results.pairs) > 1)


def _concerns(score: Mapping[Any, Any], pair: Pair, results: Results) -> bool:
    """Whether a score is of a pair: the base belongs to every domain, and is asked all of them."""
    own = score["method"] == BASE or score["domain"] == pair.domain
    return own and (score["benchmark"] == pair.domain or score["benchmark"] not in results.scored)


def _run(score: Mapping[Any, Any], pair: Pair) -> dict[str, Any]:
    return {
        "run_id": score["run_id"],
        **pair._asdict(),
        "method": score["method"],
        "rate": rate_text(score["learning_rate"]),
        "learning_rate": number(score["learning_rate"]),
        "seed": "" if pd.isna(score["seed"]) else int(score["seed"]),
        "values": {},
    }


def _provenance(results: Results) -> Markup:
    """Every run_id with what made it; a base's id is the beginning of its weights' hash."""
    columns = ["run_id", "model", "revision", "method"]
    bases = results.tables["scores"].loc[lambda table: table["method"] == BASE, columns].drop_duplicates("run_id")
    names = {
        row["run_id"]: (row["model"], row["domain"], point_text(row["method"], row["learning_rate"]), row["seed"])
        for row in results.tables["scores"].to_dict("records")
        if row["method"] != BASE
    }
    runs = [{"card": card, "name": names.get(card["run_id"])} for card in results.cards]
    return render("provenance", bases=bases.to_dict("records"), runs=runs)


def _settings(results: Results) -> Markup:
    scores = results.tables["scores"]
    tasks = scores[
        ["benchmark", "task_version", "num_fewshot", "max_new_tokens", "engine", "precision", "batch_tokens"]
    ]
    tasks = tasks.drop_duplicates().astype(object)
    return render(
        "settings",
        study=results.study,
        tasks=tasks.where(tasks.notna(), None).to_dict("records"),
        versions={name: metadata.version(name) for name in PACKAGES},
    )
