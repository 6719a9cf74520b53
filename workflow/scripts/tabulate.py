"""All runs' items to samples, scores and trade-off tables."""

import json
from pathlib import Path

from tradeoff.errors import logged
from tradeoff.evaluation import from_json
from tradeoff.tables import schemas
from tradeoff.tables.collect import Entry, card_of, collect
from tradeoff.tables.scores import scores
from tradeoff.tables.tradeoff import tradeoff

with logged(snakemake.log[0]):
    entries = [
        Entry(
            **{
                **entry,
                "folder": Path(entry["folder"]),
                "base_folder": Path(entry["base_folder"]),
                "benchmarks": tuple(entry["benchmarks"]),
            }
        )
        for entry in json.loads(snakemake.params.entries)
    ]
    benchmarks = {name: from_json(spec) for name, spec in json.loads(snakemake.params.benchmarks)}
    scored = json.loads(snakemake.params.scored)
    samples = collect(entries, benchmarks)
    cards = [card_of(entry) for entry in entries if entry.domain is not None]
    updates = {card["run_id"]: {**card["update"], **card["training"], **card["cost"]} for card in cards}
    schemas.write(Path(snakemake.output.samples), samples, schemas.SAMPLES)
    schemas.write(Path(snakemake.output.scores), scores(samples), schemas.SCORES)
    schema = schemas.tradeoff([name for name in benchmarks if name not in scored])
    schemas.write(Path(snakemake.output.tradeoff), tradeoff(samples, updates, benchmarks, scored), schema)
