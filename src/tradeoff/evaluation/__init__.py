"""Evaluation: the same benchmarks, prompts and settings for the base and every result, with every item kept.

A general benchmark is one lm-eval task file in `tasks/` (with its functions beside it, as lm-eval does); `base_text` is
scored by our own code. A domain's test split becomes a task by itself. This module is light: it is read with a study.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tradeoff import domains

TASKS = Path(__file__).parent / "tasks"
BASE_TEXT = "base_text"
CODE_LENGTH = "code_length"


@dataclass(frozen=True)
class Benchmark:
    """What the tables must know of a benchmark.

    Attributes:
        name: Its name, which for a domain's test split is the domain's.
        version: Raised with any change to items, prompts or scoring.
        metrics: All metrics; the first is the one that stands for the benchmark. A domain's last is the code length of
            the right responses, in nats per token: lower is better, and it moves long before an accuracy does.
        bounded: Scores from 0 to 1 of which higher is better, so that they can be averaged into the general score.
    """

    name: str
    version: str
    metrics: tuple[str, ...]
    bounded: bool = True


def names() -> list[str]:
    """Names of all general benchmarks."""
    return sorted([BASE_TEXT, *(path.stem for path in TASKS.glob("*.yaml"))])


def benchmark(name: str) -> Benchmark:
    """A general benchmark, or a domain's test split, by name."""
    if name == BASE_TEXT:
        return Benchmark(name, "1.0", ("kl", CODE_LENGTH), bounded=False)
    if (TASKS / f"{name}.yaml").is_file():
        task = _read_task(TASKS / f"{name}.yaml")
        metrics = tuple(m["metric"] for m in task["metric_list"] if m["metric"] != "invalid")
        return Benchmark(name, str(task["metadata"]["version"]), metrics)
    domain = domains.get(name)
    return Benchmark(name, domain.version, (*(metric.name for metric in domain.metrics), CODE_LENGTH))


def _read_task(path: Path) -> dict[str, Any]:
    """A task file without its functions."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: str(node.value))
    task: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    return task
