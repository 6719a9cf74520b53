"""Brings models and data of a study to this machine's caches, so that it then runs without a network.

What lies on a disk already, in a package or under the study's `data_root`, is left alone. Afterwards `HF_HUB_OFFLINE=1`
or a `data_root` keeps every job off the network. Code and caches are then all that has to be copied to another machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from tradeoff import hub, sources
from tradeoff.domains import Split
from tradeoff.errors import command
from tradeoff.evaluation.harness import data
from tradeoff.models.import_base import bring
from tradeoff.study import Study, load


def prefetch(study: Study) -> Iterator[str]:
    """Brings everything, one thing after another; a line for each.

    Raises:
        UserError: something cannot be had.
    """
    for name, model in study.all_models.items():
        if model.source.startswith("hub:"):
            bring(model.source, model.revision)
            yield f"model {name}: {model.source}@{model.revision}"
    for name in _named(study):
        datum = sources.registry()[name]
        if study.data_root is None and sources.local_path(datum, None) is None:
            sources.obtain(datum, None)
            yield f"data {name}: {datum.hub}@{datum.revision}"
    for table in study.hub_tables().values():
        hub.rows_of(table)
        yield f"data {table.label}: {table.revision}"
    for name in study.from_lm_eval:
        for origin in data.prefetch(study.benchmarks()[name], study.data_root):
            yield f"benchmark {name}: {origin}"


def _named(study: Study) -> list[str]:
    """Names in `datasets.tsv` of all that domains and benchmarks read."""
    own = [name for domain in study.domains for split in get_args(Split) for name in study.read_by(domain, split)]
    found = dict.fromkeys([*own, *(datum for known in study.benchmarks().values() for datum in known.data)])
    return [name for name in found if name in sources.registry()]


def main() -> None:
    """`python -m tradeoff.prefetch STUDY`."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.prefetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    a = parser.parse_args()
    for line in prefetch(load(a.study)):
        print(line, flush=True)


if __name__ == "__main__":
    command(main)
