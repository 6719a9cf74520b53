"""Evaluation: the same benchmarks, prompts and settings for the base and every result, with every item kept.

A general benchmark is one lm-eval task file in `tasks/` (with its functions beside it, as lm-eval does), or any task or
group of lm-eval (`harness`); `base_text` is scored by our own code. A domain's test split is a benchmark too. This
module is light: it is read with a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tradeoff.domains import Domain
from tradeoff.provenance import read_task

TASKS = Path(__file__).parent / "tasks"
BASE = "base"  # the method of a base itself, in paths and tables
BASE_TEXT = "base_text"
BASE_TEXTS = 32
CODE_LENGTH = "code_length"
INVALID = "invalid"
# What becomes of a system turn: the template takes it, it opens the first user turn, or there is no template.
BY_TEMPLATE, IN_USER_TURN, NO_TEMPLATE = "by the template", "opens the first user turn", "a line of its own"


@dataclass(frozen=True)
class Benchmark:
    """What everyone must know of a benchmark.

    Attributes:
        name: Its name, which for a domain's test split is the domain's.
        version: Raised with any change to items, prompts or scoring; where the data have a version, that follows.
        metrics: Metrics that every item has, as `metric` or, under one of lm-eval's filters, `metric,filter`; the first
            is the one that stands for the benchmark. A domain's last is the code length of the right responses, in nats
            per token: lower is better, and it moves long before an accuracy does. An item for which a teacher found no
            right response lacks it.
        bounded: Scores from 0 to 1 of which higher is better, so that they can be averaged into the general score.
        data: Names in `datasets.tsv` of what it reads.
        runs_code: It runs what the model wrote, which a study has to allow.
        num_fewshot: Solved examples ahead of the question, unless a study says otherwise; None where it has none, or
            where the tasks of a group have different numbers.
        max_new_tokens: Generation limit, unless a study says otherwise; None where nothing is generated, or likewise.
        lm_eval: The task, group or tag of lm-eval that it is; None for one of ours.
        include: Folder of task files of one's own, which stand before lm-eval's.
    """

    name: str
    version: str
    metrics: tuple[str, ...]
    bounded: bool = True
    data: tuple[str, ...] = ()
    runs_code: bool = False
    num_fewshot: int | None = None
    max_new_tokens: int | None = None
    lm_eval: str | None = None
    include: str | None = None


def names() -> list[str]:
    """Names of our own general benchmarks."""
    return sorted([BASE_TEXT, *(path.stem for path in TASKS.glob("*.yaml"))])


@cache
def general(name: str) -> Benchmark:
    """One of our own general benchmarks by name."""
    if name == BASE_TEXT:
        return Benchmark(name, "1.0", ("kl", CODE_LENGTH), bounded=False)
    task = read_task(TASKS / f"{name}.yaml")
    filters = [f",{f['name']}" for f in task.get("filter_list", [])] or [""]
    metadata = task["metadata"]
    return Benchmark(
        name,
        str(metadata["version"]),
        tuple(m["metric"] + f for m in task["metric_list"] if m["metric"] != INVALID for f in filters),
        data=tuple(metadata.get("data", ())),
        runs_code=metadata.get("runs_code", False),
        num_fewshot=task["num_fewshot"] if "fewshot_split" in task else None,
        max_new_tokens=task.get("generation_kwargs", {}).get("max_gen_toks"),
    )


def of_domain(name: str, domain: Domain) -> Benchmark:
    """A domain's test split as a benchmark."""
    return Benchmark(
        name,
        domain.version,
        (*(metric.name for metric in domain.metrics), CODE_LENGTH),
        data=domain.data("test"),
        max_new_tokens=domain.max_new_tokens,
    )


def from_json(spec: Mapping[str, Any]) -> Benchmark:
    """A benchmark that went through JSON."""
    return Benchmark(**{**spec, "metrics": tuple(spec["metrics"]), "data": tuple(spec["data"])})
