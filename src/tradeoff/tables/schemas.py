"""The Arrow schemas of all tables. A table is written in its schema or not at all; nothing is inferred from data."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tradeoff.evaluation import samples
from tradeoff.provenance import write_whole

VERSION = "2"


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


RUN = [
    _required("run_id", pa.string()),
    _required("model", pa.string()),
    pa.field("revision", pa.string()),
    pa.field("domain", pa.string()),  # null for the base, which belongs to every domain
    _required("method", pa.string()),
    _required("recipe", pa.string()),
    pa.field("learning_rate", pa.float64()),  # null for the base
    pa.field("seed", pa.int32()),  # null for the base
]
# How items were put to the models.
PROMPTING = [samples.SCHEMA.field(f.name) for f in fields(samples.Prompting)]

# How pandas holds columns that are null in some frames and not in others, so that no integer becomes a float.
NULLABLE = {"learning_rate": "Float64", "seed": "Int32", "max_new_tokens": "Int32"}

SAMPLES = pa.schema([*RUN, *samples.SCHEMA])

SCORES = pa.schema(
    [
        *RUN,
        _required("benchmark", pa.string()),
        _required("task_version", pa.string()),
        *PROMPTING,
        _required("metric", pa.string()),
        _required("filter", pa.string()),
        _required("value", pa.float64()),
        pa.field("stderr", pa.float64()),  # null for a single item, about whose spread nothing is known
        _required("n", pa.int32()),
        _required("n_truncated", pa.int32()),
        _required("n_invalid", pa.int32()),
    ]
)


def tradeoff(benchmarks: list[str]) -> pa.Schema:
    """The schema of `tradeoff.parquet` for a study with these general benchmarks: three columns for each."""
    parts = [
        _required(f"{name}{suffix}", pa.float64())
        for name in benchmarks
        for suffix in ("", "_change", "_change_stderr")
    ]
    cost = [
        pa.field("delta_norm", pa.float64()),
        pa.field("share_moved", pa.float64()),
        pa.field("share_kept_bfloat16", pa.float64()),
        pa.field("tokens", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("peak_memory_bytes", pa.int64()),
    ]
    return pa.schema(
        [
            _required("model", pa.string()),
            _required("domain", pa.string()),
            _required("method", pa.string()),
            _required("recipe", pa.string()),
            pa.field("learning_rate", pa.float64()),
            _required("seeds", pa.int32()),
            *(
                _required(f"{side}_{what}", pa.float64())
                for side in ("domain", "general")
                for what in ("score", "stderr", "change", "change_stderr", "change_low", "change_high")
            ),
            _required("domain_code_length", pa.float64()),
            _required("domain_code_length_change", pa.float64()),
            _required("domain_code_length_change_stderr", pa.float64()),
            *parts,
            *cost,  # null for the base; of a derived run, its source's training
            _required("n_truncated", pa.int32()),
            _required("n_invalid", pa.int32()),
            _required("pareto", pa.bool_()),
        ]
    )


def write(path: Path, frame: pd.DataFrame, schema: pa.Schema) -> None:
    """Writes a frame in its schema.

    Raises:
        ValueError: a column is missing or unknown, a required value is null, or a number is not finite.
    """
    if set(frame.columns) != set(schema.names):
        raise ValueError(
            f"{path.name}: columns differ from the schema: {sorted(set(frame.columns) ^ set(schema.names))}"
        )
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    for field in schema:
        column = table[field.name]
        if not field.nullable and column.null_count:
            raise ValueError(f"{path.name}: {field.name} is missing in {column.null_count} rows; no number is made up")
        if pa.types.is_floating(field.type) and pc.any(pc.is_inf(column)).as_py():
            raise ValueError(f"{path.name}: {field.name} is infinite somewhere; no table holds that")
    table = table.replace_schema_metadata({"tradeoff_table": path.stem, "tradeoff_schema_version": VERSION})
    write_whole(path, lambda aside: pq.write_table(table, aside))


def read(path: Path) -> pd.DataFrame:
    """Reads a table with types that keep a null integer an integer."""
    return pq.read_table(path).to_pandas(types_mapper=_nullable.get)


_nullable = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
