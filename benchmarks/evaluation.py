"""Items per second of an evaluation job against lm-eval's command line: the same model, tasks, items, batches."""

from __future__ import annotations

import json
import os
import shutil
import sys

import common

from tradeoff.evaluation import TASKS

ITEMS, BATCH = int(os.environ.get("BENCH_ITEMS", 48)), 24
SUITES = ["ifeval_mini", "arithmetic_mini"]


def main() -> None:
    common.model()
    runs: dict[str, list[float]] = {"ours": [], "lm_eval": []}
    for _ in range(common.ROUNDS):
        runs["ours"].append(common.timed(ours())[0])
        runs["lm_eval"].append(common.timed(theirs())[0])
    rates = {name: 2 * ITEMS / common.median(seconds) for name, seconds in runs.items()}
    ratio = common.median(b / a for a, b in zip(runs["ours"], runs["lm_eval"], strict=True))
    common.save("evaluation", {"items_per_s": rates, "ratio_items_per_s": ratio})


def ours() -> list[str]:
    """An evaluation job of the base."""
    root = common.OUTPUT / "evaluation"
    shutil.rmtree(root, ignore_errors=True)
    evaluation = {"items": ITEMS}
    return common.evaluation_job("bench", common.MODEL, root, general=SUITES, evaluation=evaluation)


def theirs() -> list[str]:
    """lm-eval's command line on our task files."""
    drawn = json.dumps({"count": ITEMS, "seed": 0})
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", ",".join(SUITES)]
    command += ["--model_args", f"pretrained={common.WEIGHTS},dtype=float32", "--batch_size", str(BATCH)]
    command += ["--include_path", str(TASKS), "--metadata", drawn, "--device", "cpu", "--apply_chat_template"]
    return [*command, "--log_samples", "--output_path", str(common.OUTPUT / "lm_eval")]


if __name__ == "__main__":
    main()
