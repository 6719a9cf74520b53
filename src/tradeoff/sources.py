"""Data that enters from outside: each datum is a row of `config/datasets.tsv`, read from a disk or from the hub.

A study with a `data_root` reads the files under it and touches no network; without one the same data come from the hub
at a pinned revision. What a package carries is at hand either way. `fetch` leaves a card with the file's hash, and a
link to the file beside it, so that jobs depend on what a file holds and not on where it lies.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from tradeoff.errors import UserError, command, one_line
from tradeoff.hub import offline
from tradeoff.provenance import ROOT, checked, read_json, sha256_file, write_json, write_whole

DATASETS = ROOT / "config" / "datasets.tsv"
PACKAGE = "package:"


@dataclass(frozen=True)
class Datum:
    """A row of `datasets.tsv`.

    Attributes:
        name: What domains and task files call it.
        hub: Dataset repository on the hub; empty where the data are only to be had on a disk.
        revision: Commit, 40 hex digits.
        hub_file: File in that repository.
        hub_version: Of the data there, as their authors count; it ends a benchmark's task version.
        local: The same data under a `data_root`, or `package:<python package>/<file>`.
        sha256: Of the local file; a file with another hash is refused. Empty accepts any, and records its hash.
        local_version: As `hub_version`.
        licence: Of the data.
    """

    name: str
    hub: str
    revision: str
    hub_file: str
    hub_version: str
    local: str
    sha256: str
    local_version: str
    licence: str

    def version(self, data_root: str | None) -> str:
        """The version of what is read."""
        return self.local_version if data_root or self.local.startswith(PACKAGE) else self.hub_version


@cache
def registry(path: Path = DATASETS) -> dict[str, Datum]:
    """All data by name.

    Raises:
        UserError: the table is not as it should be.
    """
    columns = [f.name for f in fields(Datum)]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    if not lines or lines[0].split("\t") != columns:
        raise UserError(f"{path}: the first line must name the columns {', '.join(columns)}, separated by tabs")
    found = {}
    for line in lines[1:]:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise UserError(f"{path}: {cells[0]} has {len(cells)} columns, not {len(columns)}; separate them by tabs")
        found[cells[0]] = Datum(*cells)
    return found


def local_path(datum: Datum, data_root: str | None) -> Path | None:
    """Where a datum lies on this machine; None when it comes from the hub.

    Raises:
        UserError: it should be there and is not.
    """
    if datum.local.startswith(PACKAGE):
        return package_file(datum.local.removeprefix(PACKAGE))
    if data_root is None and datum.hub:
        return None
    if data_root is None:
        raise UserError(f"{datum.name}: is on no hub; give the study a data_root that holds {datum.local}")
    path = Path(data_root) / datum.local
    if not is_file(path):
        raise UserError(f"data_root: there is no {one_line(path)}, which {datum.name} is read from; put the file there")
    return path


def is_file(path: Path) -> bool:
    """Whether there is such a file; no name is too long or too odd to be asked about."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def package_file(place: str) -> Path:
    """A file inside an installed package, `<python package>/<file>`, found without importing the package.

    Raises:
        UserError: package or file is missing.
    """
    package, _, name = place.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{PACKAGE}{place}: the package {package} is not installed; pip install it")
    file = Path(spec.submodule_search_locations[0]) / name
    if not file.is_file():
        raise UserError(f"{PACKAGE}{place}: no such file in the package {package}; see {file.parent}")
    return file


def obtain(datum: Datum, data_root: str | None) -> Path:
    """The file of a datum, downloaded if it comes from the hub.

    Raises:
        UserError: it is missing, has another hash than the table says, or cannot be downloaded.
    """
    path = local_path(datum, data_root)
    if path is None:
        return _download(datum)
    found = sha256(path)
    if datum.sha256 not in ("", found):
        raise UserError(
            f"{path}: has the sha256 {found}, and {DATASETS.name} says {datum.sha256} for {datum.name}; "
            "use that file, or write the new hash and version into the table"
        )
    return path


def identity(datum: Datum, data_root: str | None) -> str:
    """What the bytes of a datum are known by, before they are at hand: a hash, or a place on the hub."""
    path = local_path(datum, data_root)
    if path is None:
        return f"{datum.hub}@{datum.revision}:{datum.hub_file}"
    return datum.sha256 or sha256(path)


def fetch(datum: Datum, data_root: str | None, card: Path) -> None:
    """Writes the card of a datum, and a copy of its file into a folder of the card's name beside it.

    Raises:
        UserError: as `obtain`.
    """
    path = obtain(datum, data_root)
    folder = card.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / path.name, partial(shutil.copyfile, path))
    version = datum.version(data_root)
    origin = f"{datum.hub}@{datum.revision}" if local_path(datum, data_root) is None else "this machine"
    content = {"name": datum.name, "from": origin, "version": version, "licence": datum.licence}
    write_json(card, {**content, "sha256": sha256(path), "file": path.name})


def fetched(card: Path) -> Path:
    """The file that a card stands for.

    Raises:
        UserError: as `checked`.
    """
    content = read_json(card)
    return checked(card.with_suffix("") / content["file"], card, content["sha256"])


@cache
def sha256(path: Path) -> str:
    """The hash of a file, read once in a process."""
    return sha256_file(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table: CSV (all values are text), JSON lines, a JSON list, gzipped or not, or Parquet.

    Raises:
        ValueError: it cannot be read; the message names the file.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path).to_pylist()
        text = _text(path)
        if kind == "csv":
            csv.field_size_limit(sys.maxsize)
            return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        if kind == "json":
            return list(json.loads(text))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except Exception as error:  # a damaged file makes its reader raise any of many kinds
        raise ValueError(f"{path}: cannot be read ({one_line(error)}); mend or replace the file") from None


def read_fields(path: Path, kinds: Mapping[str, type]) -> list[dict[str, Any]]:
    """The rows of a table, of which each must have these fields, of these types; others are left out.

    Raises:
        ValueError: a row lacks one; the message names file, row and field.
    """
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        for field, kind in kinds.items():
            if not isinstance(row, dict) or not isinstance(row.get(field), kind):
                raise ValueError(f"{path}, row {number}: has no {field}; put the file of that name in its place")
    return [{field: row[field] for field in kinds} for row in rows]


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


def _download(datum: Datum) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(datum.hub, datum.hub_file, repo_type="dataset", revision=datum.revision or None))
    except Exception as error:  # the hub's client raises many kinds, all of them a bad day
        why = " (HF_HUB_OFFLINE is set)" if offline() else ""
        raise UserError(
            f"{datum.name}: hub dataset {datum.hub} cannot be had{why}: {one_line(error)}; "
            f"give the study a data_root that holds {datum.local}, or a network"
        ) from None


def main(arguments: Iterable[str] | None = None) -> None:
    """`python -m tradeoff.sources NAME CARD`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.sources", description="Fetch a datum.")
    parser.add_argument("name", help="in config/datasets.tsv")
    parser.add_argument("card", type=Path, help="JSON to write")
    parser.add_argument("--data-root")
    a = parser.parse_args(arguments)
    fetch(registry()[a.name], a.data_root or None, a.card)


if __name__ == "__main__":
    command(main)
