"""Parquet files that are whole or not there at all: each page has a checksum, which is looked at when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tradeoff.errors import UserError, one_line
from tradeoff.provenance import set_aside, write_whole


def write_parquet(path: Path, table: pa.Table) -> None:
    """Writes Parquet with a checksum of each page, whole or not at all."""
    write_whole(path, lambda aside: pq.write_table(table, aside, write_page_checksum=True))


def read_parquet(path: Path, **options: Any) -> pa.Table:
    """Reads what `write_parquet` wrote, with options of `pyarrow.parquet.read_table`.

    Raises:
        UserError: the file is damaged; it is set aside, since what is missing is made anew.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True, **options)
        # A checksum covers a page and not the footer, of which a flipped bit can turn values into nulls.
        for column, kind in zip(table.columns, table.schema, strict=True):
            if column.null_count and not kind.nullable:
                raise pa.ArrowInvalid(f"{kind.name} has nulls")
        return table
    except (pa.ArrowInvalid, OSError) as error:  # other kinds, such as too little memory, say nothing of the file
        if getattr(error, "errno", None) is not None or isinstance(error, FileNotFoundError):
            raise  # the disk's trouble and not the file's
        aside = set_aside(path).name
        raise UserError(
            f"{path}: damaged ({one_line(error)}) and set aside as {aside}; run again, and it is made anew"
        ) from None
