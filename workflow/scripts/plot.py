"""The Pareto figure of a study."""

from pathlib import Path

from tradeoff.errors import logged
from tradeoff.report.figures import pareto_figure, save
from tradeoff.tables import schemas

with logged(snakemake.log[0]):
    figure = pareto_figure(schemas.read(Path(snakemake.input[0])), snakemake.params.study)
    save(figure, Path(snakemake.output.svg))
    save(figure, Path(snakemake.output.png))
