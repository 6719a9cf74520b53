"""Where the time of one optimizer step goes, by operation: EXAMPLES BATCH, such as results/bench/worked-6.jsonl 3."""

from __future__ import annotations

import sys
from pathlib import Path

import common
import torch
from torch.profiler import ProfilerActivity, profile

from tradeoff import data
from tradeoff.models.base import load_base, load_chat
from tradeoff.training import batches
from tradeoff.training.losses import TokenLosses, normalised


def main() -> None:
    file, batch = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(common.THREADS)
    chat = load_chat(common.model())
    sequences = [chat.encode(example) for example in data.read(file)[:batch]]
    targets = sum(sequence.targets for sequence in sequences)
    losses = TokenLosses(load_base(common.MODEL)).train()
    optimizer = torch.optim.AdamW(losses.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        for part in batches.step_of_process(list(range(batch)), sequences, chat.pad_id, 512):
            normalised(losses(part), None, targets).backward()
        torch.nn.utils.clip_grad_norm_(losses.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


if __name__ == "__main__":
    main()
