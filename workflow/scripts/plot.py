"""The report of a study and its figures."""

import json
from pathlib import Path

from tradeoff.errors import logged
from tradeoff.evaluation import from_json
from tradeoff.provenance import read_json, write_whole
from tradeoff.report import figures, flips, sections
from tradeoff.report.results import Results
from tradeoff.tables import schemas
from tradeoff.theory import figures as theory

with logged(snakemake.log[0]):
    params = snakemake.params
    tables = {n: schemas.read(Path(snakemake.input[n])) for n in params.tables if n != "samples"}
    asked = flips.wanted(tables["recommendation"], tables["tradeoff"], tables["scores"])
    runs = [run for _, *both in asked.values() for run in both]
    tables["samples"] = flips.read(Path(snakemake.input.samples), runs)
    benchmarks = {name: from_json(spec) for name, spec in json.loads(params.benchmarks)}
    cards = [read_json(Path(card)) for card in snakemake.input.cards]
    results = Results(json.loads(params.study), tables, cards, benchmarks, json.loads(params.scored), params.settings)
    drawn = figures.all_figures(results)
    why = theory.why(tables | {name: schemas.read(Path(snakemake.input[name])) for name in params.explanations})
    for figure, place in zip([*drawn, *why], snakemake.output.svg, strict=True):
        figures.save(figure, Path(place).parent)
    text = sections.report(results, drawn, [sections.why(why)])
    write_whole(Path(snakemake.output.page), lambda aside: aside.write_text(text, encoding="utf-8"))
