"""Data sets of the hub that a domain of a person's own names: a split at one commit, as a Parquet file with a card.

They are read through the library `datasets`, which knows the hub's formats and keeps what it downloaded; with
HF_HUB_OFFLINE, as a study with a `data_root` sets it, only what it kept is read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from tradeoff.errors import UserError, command, one_line
from tradeoff.provenance import digest, sha256_file, write_json, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "hub:"
PLACE = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
NAME = re.compile(r"hub--[\w.-]+--[\w.-]+-[0-9a-f]{16}")  # of a table, which no other file is likely to have
# What is said of a failure whose text has the words; the last is for all others.
REMEDIES = {
    "gated": "accept its terms on the hub and log in (hf auth login), or name a file",
    "Unknown split": "name one of them as split or test_split",
    "BuilderConfig": "name one of them as config",
    "Config name": "name one of them as config",
    "scripts are no longer": "name a file that its script makes, such as one of Parquet",
    "doesn't exist": "correct the name or the commit, log in (hf auth login) if it is private, or name a file",
    "": "give this machine a network, fetch it where there is one, or name a file",
}


def offline() -> bool:
    """Whether the environment keeps the hub's libraries off the network."""
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


@dataclass(frozen=True)
class HubTable:
    """A split of a data set on the hub.

    Attributes:
        repository: `<owner>/<name>`.
        revision: Commit, 40 hex digits.
        config: Configuration of the data set, None for its only one or its default.
        split: Its name there, or a part of it in the library's terms, such as `train[:1000]`.
    """

    repository: str
    revision: str
    config: str | None
    split: str

    @property
    def identity(self) -> str:
        """What its bytes are known by before they are at hand."""
        return f"{self.repository}@{self.revision}:{self.config or ''}:{self.split}"

    @property
    def name(self) -> str:
        """Name of its file in a study's `sources/`."""
        return f"hub--{self.repository.replace('/', '--')}-{digest(self.identity)}"

    @property
    def label(self) -> str:
        """For messages."""
        config = f", config {self.config}" if self.config else ""
        return f"{MARK}{self.repository}{config}, split {self.split}"


def rows_of(table: HubTable) -> pa.Table:
    """A table with labels by their names; what is downloaded for it stays in the library's cache.

    Raises:
        UserError: it cannot be had, or has no rows; one line with what to do.
    """
    import datasets
    import pyarrow as pa

    try:
        found = datasets.load_dataset(table.repository, table.config, split=table.split, revision=table.revision)
        rows: pa.Table = found.with_format("arrow")[:]
    except Exception as error:  # the library and the hub's client raise many kinds
        told = str(error)
        remedy = next(remedy for words, remedy in REMEDIES.items() if words in told)
        why = " (HF_HUB_OFFLINE is set)" if offline() else ""
        raise UserError(f"{table.label}: cannot be had{why}: {one_line(told)}; {remedy}") from None
    if not rows.num_rows:
        raise UserError(f"{table.label}: has no rows; name another split")
    for number, (column, feature) in enumerate(found.features.items()):
        if isinstance(feature, datasets.ClassLabel):
            labels = [None if n is None or n < 0 else feature.int2str(n) for n in rows[column].to_pylist()]
            rows = rows.set_column(number, column, pa.array(labels, pa.string()))
    return rows


def write(table: HubTable, path: Path) -> int:
    """Writes a table to Parquet; returns the number of its rows. Raises as `rows_of`."""
    import pyarrow.parquet as pq

    rows = rows_of(table)
    write_whole(path, lambda aside: pq.write_table(rows, aside))
    return int(rows.num_rows)


def obtain(table: HubTable) -> Path:
    """A table's file in a temporary folder, for a look at it."""
    path = Path(mkdtemp(prefix="tradeoff-")) / f"{table.name}.parquet"
    write(table, path)
    return path


def fetch(table: HubTable, card: Path) -> None:
    """Writes a table's card, and its file into a folder of the card's name beside it; see `sources.fetched`."""
    path = card.with_suffix("") / f"{table.name}.parquet"
    rows = write(table, path)
    content: dict[str, Any] = {"name": table.name, "from": table.identity, "rows": rows}
    write_json(card, {**content, "sha256": sha256_file(path), "file": path.name})


def main() -> None:
    """`python -m tradeoff.hub TABLE CARD`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.hub", description="Fetch a split of a data set.")
    parser.add_argument("table", type=json.loads, help="JSON of a HubTable")
    parser.add_argument("card", type=Path, help="JSON to write")
    a = parser.parse_args()
    fetch(HubTable(**a.table), a.card)


if __name__ == "__main__":
    command(main)
