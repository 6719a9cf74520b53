"""All runs' items to samples, scores, and every table that compares runs."""

import json
from pathlib import Path

from tradeoff.errors import logged
from tradeoff.evaluation import from_json
from tradeoff.tables import schemas
from tradeoff.tables.against_paper import against_paper
from tradeoff.tables.collect import card_of, check_one_lock, collect, from_params
from tradeoff.tables.comparisons import comparisons
from tradeoff.tables.hypotheses import hypotheses
from tradeoff.tables.pareto import front, hypervolume
from tradeoff.tables.recommendation import judge, recommendation
from tradeoff.tables.replicates import replicates
from tradeoff.tables.scores import scores
from tradeoff.tables.standing import standing
from tradeoff.tables.tradeoff import tradeoff
from tradeoff.tables.trajectory import trajectory
from tradeoff.tables.verdicts import Rules
from tradeoff.tables.views import views

with logged(snakemake.log[0]):
    entries = from_params(json.loads(snakemake.params.entries), Path(snakemake.output[0]).parents[1])
    benchmarks = {name: from_json(spec) for name, spec in json.loads(snakemake.params.benchmarks)}
    scored = json.loads(snakemake.params.scored)
    check_one_lock(entries, "lock" in snakemake.params.allow_mixed)
    items = collect(entries, benchmarks)
    on_the_way = items["fraction"] < 1
    samples, snapshots = items[~on_the_way][schemas.SAMPLES.names], items[on_the_way]
    cards = [card_of(entry) for entry in entries if entry.domain is not None]
    runs = [card for card in cards if "fraction" not in card]
    updates = {card["run_id"]: {**card["update"], **card["training"], **card["cost"]} for card in runs}
    norms = {(c["run_id"], c["fraction"]): c["update"]["delta_norm"] for c in cards if "fraction" in c}
    asked = json.loads(snakemake.params.verdicts)
    rules, assumed_sd = Rules(asked["tolerance"], asked["one_seed"]), asked["assumed_sd"]
    plain = json.loads(snakemake.params.plain)
    studied = replicates(samples, benchmarks, scored, assumed_sd=assumed_sd, plain=plain)
    judged = judge(studied, rules, updates)
    named = [json.loads(text) for text in (snakemake.params.sources, snakemake.params.kinds, snakemake.params.methods)]
    general = [name for name in benchmarks if name not in scored]
    tables = {
        "samples": (samples, schemas.SAMPLES),
        "scores": (scores(samples), schemas.SCORES),
        "tradeoff": (tradeoff(studied, updates), schemas.tradeoff(general)),
        "comparisons": (comparisons(studied), schemas.COMPARISONS),
        "pareto": (front(studied), schemas.PARETO),
        "hypervolume": (hypervolume(studied), schemas.HYPERVOLUME),
        "views": (views(studied, updates), schemas.VIEWS),
        "recommendation": (recommendation(judged), schemas.RECOMMENDATION),
        "standing": (standing(judged), schemas.STANDING),
        "hypotheses": (hypotheses(studied), schemas.HYPOTHESES),
        "against_paper": (against_paper(studied, *named), schemas.AGAINST_PAPER),
        "trajectory": (
            trajectory(snapshots, samples, updates, benchmarks, scored, norms, assumed_sd=assumed_sd),
            schemas.TRAJECTORY,
        ),
    }
    for name, (table, schema) in tables.items():
        schemas.write(Path(snakemake.output[name]), table, schema)
