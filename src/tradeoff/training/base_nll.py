"""The base model's loss on every supervised token of the training set: measured once, for methods that weigh by it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor, nn

from tradeoff import machine
from tradeoff.errors import command
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.precision import autocast, device
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.progress import Progress
from tradeoff.provenance import carded, sha256_file, write_json
from tradeoff.training import batches, tokens
from tradeoff.training.losses import TokenLosses

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("nll", pa.list_(pa.float32()), nullable=False),
    ]
)


@torch.no_grad()  # inference mode would leave a model that was moved to a GPU unfit for training
def token_losses(
    model: nn.Module,
    sequences: list[tokens.Sequence],
    pad_id: int,
    token_budget: int,
    precision: str,
    label: str,
) -> list[Tensor]:
    """The nll of each sequence's supervised tokens, nats, float32, one tensor a sequence."""
    where = device()
    losses = TokenLosses(model).to(where).eval()
    found: dict[int, Tensor] = {}
    progress = Progress(label, len(sequences))
    for numbers in batches.micro_batches(list(range(len(sequences))), sequences, token_budget):
        batch = batches.collate(numbers, sequences, pad_id)
        with autocast(precision, where.type):
            nll_T = losses(batch.to(where)).cpu()
        found.update(zip(numbers, nll_T.split([sequences[n].targets for n in numbers]), strict=True))
        progress.advance(len(numbers))
    return [found[n] for n in range(len(sequences))]


def read_means(path: Path) -> Tensor:
    """Mean nll of each sequence, [examples]; see `carded`."""
    return torch.tensor([sum(nll) / len(nll) for nll in read_parquet(carded(path))["nll"].to_pylist()])


def main() -> None:
    """`python -m tradeoff.training.base_nll BASE TOKENS OUTPUT`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.training.base_nll", description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--batch-tokens", type=int, required=True)
    parser.add_argument("--precision", required=True)
    arguments = parser.parse_args()
    machine.take()
    sequences = tokens.read(carded(arguments.tokens))
    pad_id = load_chat(arguments.base).pad_id
    nll = token_losses(
        load_base(arguments.base), sequences, pad_id, arguments.batch_tokens, arguments.precision, "base losses"
    )
    rows = {"id": [s.id for s in sequences], "nll": [n.tolist() for n in nll]}
    write_parquet(arguments.output, pa.table(rows, schema=SCHEMA))
    write_json(arguments.output.with_suffix(".json"), {"sha256": sha256_file(arguments.output)})


if __name__ == "__main__":
    command(main)
