"""One training of ours, measured: EXAMPLES METHOD BATCH PRECISION. Prints JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import common
import torch

from tradeoff import data, methods
from tradeoff.models.base import load_base, load_chat, load_parameters
from tradeoff.training.base_nll import token_losses
from tradeoff.training.loop import Step, train
from tradeoff.training.settings import Training

RECIPES: dict[str, dict[str, Any]] = {
    "sft": {"recipe": "sft"},
    "l2": {"recipe": "l2", "strength": 0.01},
    "lora": {"recipe": "lora", "rank": 16, "alpha": 32},
    "flow": {"recipe": "flow"},
    "talr": {"recipe": "talr"},
    "talr_graphs_kept": {"recipe": "talr"},
}
OPTIONS: dict[str, dict[str, Any]] = {"talr_graphs_kept": {"graph_tokens": 4096}}  # of `training:`


def main() -> None:
    file, name, batch, precision = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(common.THREADS)
    peak = common.matrix_peak()
    chat, method = load_chat(common.MODEL), methods.build(RECIPES[name])
    sequences = [chat.encode(example) for example in data.read(file)]
    settings = Training.model_validate(
        {"epochs": 1, "batch_size": batch, "batch_tokens": 512, "precision": precision, **OPTIONS.get(name, {})}
    )
    model, pad_id, base = load_base(common.MODEL), chat.pad_id, load_parameters(common.MODEL)
    easy = None
    if "base_nll" in method.needs:
        losses = token_losses(model, sequences, pad_id, settings.batch_tokens, precision, "base")
        easy = torch.stack([nll_T.mean() for nll_T in losses])
    clock, read = common.Clock(), 0

    def tick(step: Step) -> None:
        nonlocal read
        read += step.tokens
        clock.tick(read)

    result = train(model, sequences, method, settings, 1e-5, 0, pad_id, base, easy, tick)
    seconds = clock.ends[-1][0] - clock.ends[0][0]
    found = {
        **clock.figures(),
        "precision": settings.precision,
        "peak_memory_bytes": result.cost["peak_memory_bytes"],
        "share_of_matrix_peak": result.cost["flops"] / seconds / peak,
        "matrix_peak_flops": peak,
        "supervised_share": sum(s.targets for s in sequences) / sum(len(s.ids) for s in sequences),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
