"""The trade-off as a short table for the terminal."""

import json
from pathlib import Path

from tradeoff.errors import logged
from tradeoff.evaluation import from_json
from tradeoff.provenance import write_whole
from tradeoff.report.terminal import summary
from tradeoff.tables import schemas
from tradeoff.tables.leakage import told

with logged(snakemake.log[0]):
    benchmarks = {name: from_json(spec) for name, spec in json.loads(snakemake.params.benchmarks)}
    *tables, leaked = [schemas.read(Path(file)) for file in snakemake.input]
    text = summary(*tables, benchmarks, told(leaked))
    write_whole(Path(snakemake.output[0]), lambda aside: aside.write_text(text, encoding="utf-8"))
