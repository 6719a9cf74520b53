"""The head and its loss alone on a GPU, forward and backward, by kernel and chunk: ours, ours compiled, liger-kernel's.

The sizes are Qwen2.5-3B's head and 8,192 supervised tokens, each with a weight; run it in TRL's environment
(`against_trl.py` makes it), which has liger-kernel. Prints milliseconds, memory beyond the weights, and how far losses
and gradient are from our first variant's.
"""

from __future__ import annotations

import time
from typing import Any

import common
import torch
from torch import Tensor, nn

from tradeoff.models.precision import autocast
from tradeoff.training import losses

WIDTH, VOCABULARY, TOKENS, ROUNDS = 2048, 151936, 8192, 4


def liger(hidden_CD: Tensor, targets_C: Tensor, head: nn.Module) -> Tensor:
    """Its loss of a chunk's logits, which stay in bfloat16."""
    from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction

    found: Any = LigerCrossEntropyFunction.apply(head(hidden_CD), targets_C, None, -100, 0.0, 0.0, "none", None, False)
    return (found[0] if isinstance(found, tuple) else found).float()


def main() -> None:
    common.needs_gpu()
    where = torch.device("cuda")
    head = nn.Linear(WIDTH, VOCABULARY, bias=False, device=where)
    hidden_TD = torch.randn(TOKENS, WIDTH, device=where, requires_grad=True)
    targets_T, weights_T = torch.randint(VOCABULARY, (TOKENS,), device=where), torch.rand(TOKENS, device=where)
    kernels = {
        "ours": losses._chunk_nll,
        "compiled": torch.compile(losses._fusible_nll, dynamic=True),
        "liger": liger,
    }
    first: tuple[Tensor, Tensor] | None = None
    for name, kernel in kernels.items():
        for chunk in (512, 1024, 2048, 4096):
            torch.cuda.reset_peak_memory_stats()
            held, seconds = torch.cuda.memory_allocated(), []
            for _ in range(ROUNDS):
                head.weight.grad = None
                torch.cuda.synchronize()
                started = time.perf_counter()
                with autocast("bfloat16", where.type):
                    nll_T = losses.token_nll(hidden_TD, targets_T, head, chunk, kernel)
                losses.normalised(nll_T, weights_T, TOKENS).backward()
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - started)
            assert head.weight.grad is not None
            found = (nll_T.detach(), head.weight.grad.clone())
            first = first or found
            apart = [((a - b).norm() / b.norm()).item() for a, b in zip(found, first, strict=True)]
            memory = (torch.cuda.max_memory_allocated() - held) / 2**30
            print(
                f"{name:9}{chunk:6} {min(seconds) * 1e3:7.1f} ms {memory:5.2f} GiB, apart {apart[0]:.1e} {apart[1]:.1e}"
            )


if __name__ == "__main__":
    main()
