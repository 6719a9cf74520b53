"""What a study comes to: its tables, as bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Columns of tradeoff.parquet that tell of the machine and not of the models.
MEASURED = ["seconds", "peak_memory_bytes", "energy_joules"]


def tables(results: Path) -> dict[str, bytes]:
    """The bytes of each table of a study; of those with measured columns, of the table without these."""
    return {file.stem: _bytes(file) for file in sorted((results / "tables").glob("*.parquet"))}


def _bytes(file: Path) -> bytes:
    table = pq.read_table(file)
    if not (measured := set(table.column_names) & set(MEASURED)):
        return file.read_bytes()
    sink = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(sorted(measured)), sink)
    return sink.getvalue().to_pybytes()
