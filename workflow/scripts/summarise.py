"""The trade-off as a short table for the terminal."""

from pathlib import Path

from tradeoff.errors import logged
from tradeoff.provenance import write_whole
from tradeoff.report.terminal import summary
from tradeoff.tables import schemas

with logged(snakemake.log[0]):
    text = summary(schemas.read(Path(snakemake.input[0])), list(snakemake.params.general))
    write_whole(Path(snakemake.output[0]), lambda aside: aside.write_text(text, encoding="utf-8"))
