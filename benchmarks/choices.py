"""What knowledge_mini tells of a model, and how much of it moves with small changes of the weights.

`python benchmarks/choices.py MODEL_FOLDER [--noise 0.005 0.005 0.05] [--without-template]` scores all items with
lm-eval's own model object: first the model itself and then, for each number, a copy with Gaussian noise of that size on
all weights, as a share of each tensor's root mean square.
"""

from __future__ import annotations

import argparse
from statistics import mean, stdev
from typing import Any

import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from tradeoff.evaluation import TASKS, general
from tradeoff.evaluation.tasks.knowledge_mini import PARTS

NAME = "knowledge_mini"
METRICS = general(NAME).metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of a model")
    parser.add_argument("--noise", type=float, nargs="*", default=[], help="a share, 0.005 is 0.5 %%")
    parser.add_argument("--without-template", action="store_true")
    a = parser.parse_args()
    base = _scored(a.model, 0.0, 0, not a.without_template)
    for part in (*PARTS, "all"):
        rows = [row for row in base if part in (row["doc"]["part"], "all")]
        print(f"{part:<10}", *(f"{metric} {mean(row[metric] for row in rows):.3f}" for metric in METRICS), flush=True)
    for seed, noise in enumerate(a.noise, 1):
        print(f"noise {noise:.1%}", *_compared(base, _scored(a.model, noise, seed, not a.without_template)), flush=True)


def _scored(folder: str, noise: float, seed: int, templated: bool) -> list[dict[str, Any]]:
    """Every item's outcome."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += noise * weight.pow(2).mean().sqrt() * torch.randn(weight.shape, generator=draw)
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"count": None})
    out = simple_evaluate(
        HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=32),
        tasks=[NAME],
        task_manager=manager,
        apply_chat_template=templated,
        bootstrap_iters=0,
        log_samples=True,
        verbosity="ERROR",
    )
    return sorted(out["samples"][NAME], key=lambda row: row["doc_id"])


def _compared(base: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[str]:
    """Of each metric the mean change with its paired standard error; the share of items whose `acc` is another."""
    changes = {m: [o[m] - b[m] for b, o in zip(base, other, strict=True)] for m in METRICS}
    flipped = mean(change != 0 for change in changes["acc"])
    told = [f"{m} {mean(c):+.4f} (standard error {stdev(c) / len(c) ** 0.5:.4f})" for m, c in changes.items()]
    return [*told, f"acc flips on {flipped:.1%}"]


if __name__ == "__main__":
    main()
