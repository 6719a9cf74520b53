"""All runs' token losses to the tables that test the theory."""

import json
from pathlib import Path

from tradeoff import methods
from tradeoff.errors import logged
from tradeoff.evaluation import from_json
from tradeoff.tables import schemas
from tradeoff.tables.collect import card_of, collect, from_params, strings, texts
from tradeoff.theory import prefixes
from tradeoff.theory.code_length import code_length
from tradeoff.theory.prediction import general_changes, prediction, runs
from tradeoff.theory.tilting import read_off, table
from tradeoff.theory.token_difficulty import hard_tokens, token_difficulty
from tradeoff.theory.token_weights import token_weights

with logged(snakemake.log[0]):
    entries = from_params(json.loads(snakemake.params.entries), Path(snakemake.output[0]).parents[1])
    benchmarks = {name: from_json(spec) for name, spec in json.loads(snakemake.params.benchmarks)}
    items = collect(entries, benchmarks)
    read, written = texts(items), strings(items)
    studied = {name: methods.build(spec) for name, spec in json.loads(snakemake.params.methods).items()}
    lengths, weights = code_length(read), token_weights(read, written, studied)
    cards = [card_of(entry) for entry in entries if entry.domain is not None]
    norms = {card["run_id"]: card["update"]["delta_norm"] for card in cards if "fraction" not in card}
    scores = schemas.read(Path(snakemake.input.scores))
    changes = general_changes(scores, benchmarks, json.loads(snakemake.params.scored))
    worlds = {f"{Path(f).parents[1].name} on {Path(f).stem}": prefixes.read(Path(f)) for f in snakemake.input.prefixes}
    tables = {
        "code_length": (lengths, schemas.CODE_LENGTH_TABLE),
        "token_difficulty": (token_difficulty(read, written), schemas.TOKEN_DIFFICULTY),
        "hard_tokens": (hard_tokens(read, written), schemas.HARD_TOKENS),
        "token_weights": (weights, schemas.TOKEN_WEIGHTS),
        "prediction": (prediction(runs(lengths, weights, norms, changes)), schemas.PREDICTION),
        "tilting": (table({name: read_off(*found) for name, found in worlds.items()}), schemas.TILTING),
    }
    for name, (frame, schema) in tables.items():
        schemas.write(Path(snakemake.output[name]), frame, schema)
