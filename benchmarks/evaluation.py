"""Items a second of an evaluation job against lm-eval's command line: the same model, task files and items.

Two parts: short answers, and choices scored by likelihood. Starts are included. lm-eval's command line runs with
batches of 32.
"""

from __future__ import annotations

import json
import os
import shutil
import sys

import common

from tradeoff.evaluation import TASKS

ITEMS = int(os.environ.get("BENCH_ITEMS", 32))  # of each suite of answers; four times as many choices
PARTS = {"answers": (["ifeval_mini", "arithmetic_mini"], ITEMS, 32), "choices": (["knowledge_mini"], 4 * ITEMS, 32)}


def main() -> None:
    common.model()
    found = {}
    for part, (suites, items, batch) in PARTS.items():
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "lm_eval": []}
        for _ in range(common.ROUNDS):
            runs["ours"].append(rates(ours(suites, items), len(suites) * items))
            runs["lm_eval"].append(rates(theirs(suites, items, batch), len(suites) * items))
        figures = {name: common.medians(of) for name, of in runs.items()}
        ratios = {f"ratio_{name}": common.median_ratio(runs["ours"], runs["lm_eval"], name) for name in runs["ours"][0]}
        found[part] = {"items": len(suites) * items, "precision": "float32", **ratios, **figures}
    common.save("evaluation", found)


def rates(command: list[str], items: int) -> dict[str, float]:
    """Items a second of a command, by the wall and by the processor's time."""
    before = os.times()
    seconds, _ = common.timed(command)
    after = os.times()
    processor = after.children_user - before.children_user + after.children_system - before.children_system
    return {"items_per_s": items / seconds, "items_per_processor_s": items / processor}


def ours(suites: list[str], items: int) -> list[str]:
    """An evaluation job of the base."""
    root = common.OUTPUT / "evaluation"
    shutil.rmtree(root, ignore_errors=True)
    return common.evaluation_job("bench", common.MODEL, root, general=suites, evaluation={"items": items})


def theirs(suites: list[str], items: int, batch: int) -> list[str]:
    """lm-eval's command line on our task files."""
    drawn = json.dumps({"count": items, "seed": 0})
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", ",".join(suites)]
    command += ["--model_args", f"pretrained={common.WEIGHTS},dtype=float32", "--batch_size", str(batch)]
    command += ["--include_path", str(TASKS), "--metadata", drawn, "--device", "cpu", "--apply_chat_template"]
    return [*command, "--log_samples", "--output_path", str(common.OUTPUT / "lm_eval")]


if __name__ == "__main__":
    main()
