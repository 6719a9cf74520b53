"""Run by torchrun: trains the tiny model in every process by each method; the first writes the results."""

import sys

import tiny
import torch
from accelerate import PartialState

# The last step has fewer examples than there are processes, and processes differ in their number of micro-batches.
SETTINGS = {"epochs": 2, "batch_size": 4, "batch_tokens": 40, "max_grad_norm": 0.5}
METHODS = {
    "sft": {"recipe": "sft"},
    "talr": {"recipe": "talr"},
    "l2": {"recipe": "l2", "strength": 0.1},
    "lora": {"recipe": "lora", "rank": 2, "alpha": 4},
}
SHARDED = ("copies", "parts")


def fit_all() -> dict[str, tuple[dict[str, torch.Tensor], list[dict[str, float]]]]:
    """Delta and steps of each method, with a copy of the model in every process and with a part of it.

    Weights are float64, so that no rounding that Adam blows up (about 2e-6 of the delta in float32) hides a mistake.
    """
    found = {}
    for name, spec in METHODS.items():
        for how in SHARDED:
            result = tiny.fit(spec, base=tiny.model().double(), shard=how == "parts", **SETTINGS)
            factors = {
                f"{name}.{side}": getattr(low, side) for name, low in result.delta.factors.items() for side in "AB"
            }
            found[f"{name} {how}"] = ({**result.delta.dense, **factors}, [vars(step) for step in result.steps])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    everything = fit_all()
    if PartialState().is_main_process:
        torch.save({"processes": PartialState().num_processes, "results": everything}, sys.argv[1])
    PartialState().destroy_process_group()
