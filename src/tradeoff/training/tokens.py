"""Tokenised examples, as training and evaluation read them; `tradeoff.models.chat` makes them."""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from tradeoff.parquet import read_parquet, write_parquet

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.int32()), nullable=False),
        pa.field("prompt_length", pa.int32(), nullable=False),
        pa.field("masked", pa.list_(pa.int32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Sequence:
    """A tokenised example; targets are the tokens from `prompt_length` on that are not masked.

    Attributes:
        id: The example's.
        ids: Token ids of prompt and response.
        prompt_length: Number of leading tokens that are not supervised.
        masked: Places of later tokens that are not supervised either, since they are between supervised turns.
    """

    id: str
    ids: tuple[int, ...]
    prompt_length: int
    masked: tuple[int, ...] = ()

    @property
    def targets(self) -> int:
        """Number of supervised tokens; a first token has nothing before it to be predicted from."""
        return len(self.ids) - max(self.prompt_length, 1) - len(self.masked)

    @property
    def supervised(self) -> list[int]:
        """Places of the supervised tokens."""
        masked = set(self.masked)
        return [place for place in range(max(self.prompt_length, 1), len(self.ids)) if place not in masked]


def common_prefix(rows: Collection[abc.Sequence[int]]) -> int:
    """How many leading ids all rows share."""
    first, last = min(map(tuple, rows)), max(map(tuple, rows))
    differ = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differ, min(len(first), len(last)))


def write(path: Path, sequences: Iterable[Sequence]) -> None:
    """Writes sequences to Parquet."""
    write_parquet(path, pa.Table.from_pylist([asdict(sequence) for sequence in sequences], schema=SCHEMA))


def read(path: Path) -> list[Sequence]:
    """Reads what `write` wrote."""
    rows = read_parquet(path, schema=SCHEMA).to_pylist()
    return [Sequence(r["id"], tuple(r["ids"]), r["prompt_length"], tuple(r["masked"])) for r in rows]
