"""How long a grid of 1,000 runs takes to plan, and a rerun of it with nothing to do takes to say so.

The grid is never trained: its files are empty and Snakemake is told (`--touch`) that they are finished.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import common
import yaml

STUDY: dict[str, Any] = {
    "study": "grid",
    "models": {"model": {"source": common.SOURCE, "parameters": 135e6}},
    "domains": ["shop_mini"],
    "methods": {
        "sft": {"recipe": "sft"},
        "lora": {"recipe": "lora", "rank": 8, "alpha": 16},
        "average": {"recipe": "average", "of": "sft", "alpha": 0.5},
        "flow": {"recipe": "flow"},
        "talr": {"recipe": "talr"},
    },
    "learning_rates": [f"{digit}e-{power}" for power in range(3, 7) for digit in (1, 2, 3, 5, 7)],
    "seeds": list(range(int(os.environ.get("BENCH_SEEDS", 10)))),
    "general": ["ifeval_mini", "arithmetic_mini", "base_text"],
    "data": {"train": 64, "test": 16},
    "training": {"epochs": 1, "batch_size": 8},
    "evaluation": {"items": 16},
}


def main() -> None:
    folder = common.OUTPUT / "planning"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("Snakefile", "Makefile", "workflow", "config", "src", "profiles", "envs"):
        source = common.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    (folder / "grid.yaml").write_text(yaml.safe_dump(STUDY))
    plan, told = common.timed(["make", "plan", "STUDY=grid.yaml"], folder)
    runs = len(STUDY["methods"]) * len(STUDY["learning_rates"]) * len(STUDY["seeds"])
    assert re.search(rf"^train +{runs * 4 // 5}$", told.stdout, re.M), told.stdout
    _finish(folder)
    rerun, told = common.timed(["make", "study", "STUDY=grid.yaml"], folder)
    assert "Nothing to be done" in told.stderr, told.stderr
    common.save("planning", {"runs": runs, "plan_seconds": plan, "nothing_to_do_seconds": rerun})


def _finish(folder: Path) -> None:
    """Writes every file that Snakemake would make, empty, and has it taken for finished."""
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "grid.yaml", "--quiet"]
    _, told = common.timed([*snakemake, "host", "--dry-run"], folder)
    for line in re.findall(r"^ +output: (.*)$", told.stdout + told.stderr, re.M):
        for file in line.split(", "):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("") if path.suffix else path.mkdir()
    common.timed([*snakemake, "all", "--touch", "--forceall"], folder)


if __name__ == "__main__":
    main()
