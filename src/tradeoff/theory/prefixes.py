"""Distributions of the real base model on real prefixes, for the exactly solvable model to start from."""

from __future__ import annotations

import argparse
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from tradeoff import data, machine
from tradeoff.errors import command
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.precision import DTYPES, device
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.tables.replicates import Array
from tradeoff.training.tokens import Sequence

SCHEMA = pa.schema(
    [
        pa.field("item", pa.string(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("right", pa.int32(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
    ]
)
ITEMS = 8
PREFIXES = 64
TOP = 62  # tokens apart; then the right one, if it is not among them, and all others together


@torch.inference_mode()
def measure(model: PreTrainedModel, sequences: list[Sequence]) -> pa.Table:
    """The base's next-token distribution ahead of supervised tokens, at equal distances over the items' responses.

    A row's probabilities are those of its `TOP` likeliest tokens, the right one's (0 where it is among these) and that
    of all others; `right` is the right token's column.
    """
    places = [(n, place) for n, s in enumerate(sequences) for place in s.supervised]
    chosen = [places[n] for n in np.linspace(0, len(places) - 1, min(PREFIXES, len(places))).round().astype(int)]
    rows = []
    for number, of_sequence in groupby(chosen, key=itemgetter(0)):
        sequence = sequences[number]
        log_LV = model(torch.tensor([sequence.ids], device=model.device)).logits[0].double().log_softmax(-1).cpu()
        for _, position in of_sequence:
            right, p_K = _columns(log_LV[position - 1].exp(), sequence.ids[position])
            rows.append({"item": sequence.id, "position": position, "right": right, "probabilities": p_K})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _columns(p_V: torch.Tensor, token: int) -> tuple[int, list[float]]:
    top = p_V.topk(min(TOP, len(p_V) - 1))
    ids = top.indices.tolist()
    its_own = 0.0 if token in ids else float(p_V[token])
    p_K = [*top.values.tolist(), its_own]
    return (ids.index(token) if token in ids else len(ids)), [*p_K, max(0.0, 1 - sum(p_K))]


def read(path: Path) -> tuple[Array, np.ndarray]:
    """What `measure` found: probabilities [prefixes, columns] and the right column of each, [prefixes]."""
    table = read_parquet(path)
    return np.array(table["probabilities"].to_pylist()), table["right"].to_numpy()


def main() -> None:
    """`python -m tradeoff.theory.prefixes BASE EXAMPLES OUTPUT`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.theory.prefixes", description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("examples", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--precision", required=True)
    a = parser.parse_args()
    machine.take()
    chat = load_chat(a.base)
    answered = [example for example in data.read(a.examples) if example.response]
    sequences = [chat.encode(example) for example in answered[:ITEMS]]
    rows = measure(load_base(a.base, DTYPES[a.precision]).to(device()).eval(), sequences)
    write_parquet(a.output, rows)


if __name__ == "__main__":
    command(main)
