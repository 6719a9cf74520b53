"""Where the time of a steady optimizer step goes, by operation: KIND METHOD, such as worked sft.

Prints the share of each group of operations in the processor time of all, largest first.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

import common
import torch
import train_ours
from torch.profiler import ProfilerActivity, profile, schedule

from tradeoff import data, methods
from tradeoff.models.base import load_base, load_chat, load_parameters
from tradeoff.models.parts import text_config
from tradeoff.training.loop import train
from tradeoff.training.settings import Training

GROUPS = {  # by a part of an operation's name
    "attention": "attention",
    "adamw": "optimizer",
    "softmax": "softmax and loss",
    "logsumexp": "softmax and loss",
    "nll_loss": "softmax and loss",
    "embedding": "embedding",
    "copy_": "copies and casts",
    "_to_copy": "copies and casts",
    "cat": "copies and casts",
    "foreach_norm": "clipping",
    "fill_": "zeros",
    "zero_": "zeros",
}
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm"}


def main() -> None:
    kind, name = sys.argv[1], sys.argv[2]
    torch.set_num_threads(common.THREADS)
    common.model()
    chat, method = load_chat(common.MODEL), methods.build(train_ours.RECIPES[name])
    batch = common.KINDS[kind]
    sequences = [chat.encode(example) for example in data.read(common.examples(kind))]
    model, base = load_base(common.MODEL), load_parameters(common.MODEL)
    vocabulary = text_config(model).vocab_size
    settings = Training(epochs=1, batch_size=batch, batch_tokens=512)
    steady = schedule(
        wait=0, warmup=min(common.WARM_UP, common.STEPS - 1), active=max(common.STEPS - common.WARM_UP, 1)
    )
    with profile(activities=[ProfilerActivity.CPU], schedule=steady, record_shapes=True, acc_events=True) as found:
        train(model, sequences, method, settings, 1e-5, 0, chat.pad_id, base, None, lambda step: found.step())
    seconds: dict[str, float] = defaultdict(float)
    for event in found.key_averages(group_by_input_shape=True):
        seconds[_group(event, vocabulary)] += event.self_cpu_time_total / 1e6
    total = sum(seconds.values())
    shares = {group: spent / total for group, spent in sorted(seconds.items(), key=lambda item: -item[1])}
    common.save(f"profile_{kind}_{name}", {"seconds": total, "shares": shares})
    print(json.dumps({group: round(share, 3) for group, share in shares.items()}, indent=1))


def _group(event: Any, vocabulary: int) -> str:
    if event.key in PRODUCTS:
        return (
            "products of the head" if any(vocabulary in shape for shape in event.input_shapes) else "products of layers"
        )
    if any(vocabulary in shape for shape in event.input_shapes) and event.key in ("aten::add", "aten::add_"):
        return "sum of the tied embedding's gradients"
    return next((group for part, group in GROUPS.items() if part in event.key), "other operations, element by element")


if __name__ == "__main__":
    main()
