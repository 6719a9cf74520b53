"""Items per second of an evaluation job against lm-eval's command line: the same model, tasks, items, batches."""

from __future__ import annotations

import json
import shutil
import sys

import common

from tradeoff.evaluation import TASKS
from tradeoff.study import Study

ROUNDS, ITEMS, BATCH = 2, 48, 24
SUITES = ["ifeval_mini", "arithmetic_mini"]


def main() -> None:
    common.model()
    runs: dict[str, list[float]] = {"ours": [], "lm_eval": []}
    for _ in range(ROUNDS):
        runs["ours"].append(common.timed(ours())[0])
        runs["lm_eval"].append(common.timed(theirs())[0])
    rates = {name: 2 * ITEMS / common.median(seconds) for name, seconds in runs.items()}
    ratio = common.median(b / a for a, b in zip(runs["ours"], runs["lm_eval"], strict=True))
    common.write("evaluation", {"items_per_s": rates, "ratio_items_per_s": ratio})


def ours() -> list[str]:
    """An evaluation job of the base."""
    study = Study.model_validate(
        {
            "study": "bench",
            "models": {"model": {"source": common.SOURCE}},
            "domains": ["shop_mini"],
            "methods": {"sft": {"recipe": "sft"}},
            "learning_rates": ["1e-5"],
            "seeds": [0],
            "general": SUITES,
            "data": {"train": 2, "test": 2},
            "training": {"epochs": 1, "batch_size": 1},
            "evaluation": {"items": ITEMS, "batch_size": BATCH},
        }
    )
    specs = {name: {**study.benchmark_spec(name), "code": ""} for name in SUITES}
    root = common.OUTPUT / "evaluation"
    shutil.rmtree(root, ignore_errors=True)
    settings = json.dumps(study.evaluation_spec())
    command = [sys.executable, "-m", "tradeoff.evaluation.evaluate", "--base", str(common.MODEL), "--label", "bench"]
    command += ["--root", str(root), "--settings", settings, "--benchmarks", json.dumps(specs)]
    return [*command, "--output", str(root / "samples.parquet")]


def theirs() -> list[str]:
    """lm-eval's command line on our task files."""
    drawn = json.dumps({"count": ITEMS, "seed": 0})
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", ",".join(SUITES)]
    command += ["--model_args", f"pretrained={common.WEIGHTS},dtype=float32", "--batch_size", str(BATCH)]
    command += ["--include_path", str(TASKS), "--metadata", drawn, "--device", "cpu", "--apply_chat_template"]
    return [*command, "--log_samples", "--output_path", str(common.OUTPUT / "lm_eval")]


if __name__ == "__main__":
    main()
