"""Which items of the general benchmarks occur in the domains' training data."""

from pathlib import Path

from tradeoff import data
from tradeoff.errors import logged
from tradeoff.evaluation import samples
from tradeoff.parquet import read_parquet
from tradeoff.tables import schemas
from tradeoff.tables.leakage import leakage, told

with logged(snakemake.log[0]):
    items = read_parquet(Path(snakemake.input.samples), schema=samples.SCHEMA).select(["benchmark", "item", "question"])
    files = dict(zip(snakemake.params.domains, snakemake.input.examples, strict=True))
    table = leakage(items.to_pandas(), {name: data.read(Path(file)) for name, file in files.items()})
    print(*told(table), sep="\n")
    schemas.write(Path(snakemake.output[0]), table, schemas.LEAKAGE)
