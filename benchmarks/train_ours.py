"""One training of ours, measured: EXAMPLES METHOD BATCH. Prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import common
import torch

from tradeoff import data, methods
from tradeoff.models.base import load_base, load_chat, load_parameters
from tradeoff.training.base_nll import token_losses
from tradeoff.training.loop import train
from tradeoff.training.settings import Training

RECIPES = {
    "sft": {"recipe": "sft"},
    "l2": {"recipe": "l2", "strength": 0.01},
    "lora": {"recipe": "lora", "rank": 16, "alpha": 32},
    "flow": {"recipe": "flow"},
    "talr": {"recipe": "talr"},
}


def main() -> None:
    file, name, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(common.THREADS)
    peak = common.matrix_peak()
    chat, method = load_chat(common.MODEL), methods.build(RECIPES[name])
    sequences = [chat.encode(example) for example in data.read(file)]
    model, pad_id = load_base(common.MODEL), chat.pad_id
    easy = None
    if "base_nll" in method.needs:
        easy = torch.stack([n.mean() for n in token_losses(model, sequences, pad_id, 2048, "float32", "base")])
    settings = Training(epochs=1, batch_size=batch, batch_tokens=512)
    base = load_parameters(common.MODEL) if "base_weights" in method.needs else {}
    ends: list[float] = []
    started = time.perf_counter()
    result = train(
        model, sequences, method, settings, 1e-5, 0, pad_id, base, easy, lambda step: ends.append(time.perf_counter())
    )
    seconds = ends[-1] - started
    read, supervised = sum(len(s.ids) for s in sequences), sum(s.targets for s in sequences)
    print(
        json.dumps(
            {
                "tokens_per_s": read / seconds,
                "supervised_tokens_per_s": supervised / seconds,
                "peak_memory_bytes": result.cost["peak_memory_bytes"],
                "share_of_matrix_peak": result.cost["flops"] / seconds / peak,
                "matrix_peak_flops": peak,
                "tokens": read,
                "supervised_share": supervised / read,
            }
        )
    )


if __name__ == "__main__":
    main()
