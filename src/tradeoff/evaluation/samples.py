"""One row an item: what was asked, what came back, what it earned. All statistics start from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa

VALUES = pa.map_(pa.string(), pa.field("value", pa.float64(), nullable=False))

SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("task_version", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("invalid", pa.bool_(), nullable=False),
        pa.field("filter", pa.string(), nullable=False),
        pa.field("values", VALUES, nullable=False),
        pa.field("weights", VALUES, nullable=False),
    ]
)


@dataclass(frozen=True)
class Sample:
    """One item of one benchmark.

    Attributes:
        benchmark: Its name.
        task_version: Its version.
        item: Identifies the item within the benchmark, the same for every model.
        prompt: The text that the model read.
        target: What the task file names as target.
        response: What the model wrote; empty for a benchmark without generation.
        truncated: The response ended at the generation limit.
        invalid: No answer could be read from the response.
        filter: lm-eval's filter that the values belong to.
        values: A value for each metric.
        weights: The item's weight in each metric's mean.
    """

    benchmark: str
    task_version: str
    item: str
    prompt: str
    target: str
    response: str
    truncated: bool
    invalid: bool
    filter: str
    values: dict[str, float]
    weights: dict[str, float]


def table(samples: Iterable[Sample]) -> pa.Table:
    """Samples as an Arrow table of the declared schema."""
    rows = [{**asdict(s), "values": sorted(s.values.items()), "weights": sorted(s.weights.items())} for s in samples]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
