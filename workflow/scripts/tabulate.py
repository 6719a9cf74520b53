"""All runs' items to samples, scores and trade-off tables."""

import json
from pathlib import Path

from tradeoff.errors import logged
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
    samples = collect(entries, json.loads(snakemake.params.settings))
    cards = [card_of(entry) for entry in entries if entry.domain is not None]
    updates = {card["run_id"]: {**card["update"], **card["training"], **card["cost"]} for card in cards}
    general = list(snakemake.params.general)
    schemas.write(Path(snakemake.output.samples), samples, schemas.SAMPLES)
    schemas.write(Path(snakemake.output.scores), scores(samples), schemas.SCORES)
    schemas.write(Path(snakemake.output.tradeoff), tradeoff(samples, updates, general), schemas.tradeoff(general))
