"""A study's general benchmarks: what each entry of `general` is, and whether it can be run as it stands."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from tradeoff import evaluation
from tradeoff.entries import Suite
from tradeoff.errors import UserError, shown
from tradeoff.evaluation import Benchmark
from tradeoff.evaluation.harness import described
from tradeoff.section import fail, nearest

# Columns of `tradeoff.parquet`, which has columns of each benchmark's name too.
RESERVED = frozenset(
    {
        *("model", "domain", "method", "recipe", "learning_rate", "seeds", "pareto", "n_truncated", "n_invalid"),
        *("domain_score", "domain_change", "general_score", "general_change", "general_plain", "domain_code_length"),
        *("delta_norm", "share_moved", "share_kept_bfloat16", "tokens", "seconds", "flops"),
        *("peak_memory_bytes", "energy_joules"),
    }
)


def known(name: str, suite: Suite, include: str | None) -> Benchmark:
    """A general benchmark as it usually is, but for the metric that represents it.

    Ours stand before lm-eval's of the same name, unless the entry asks for lm-eval's.

    Raises:
        PydanticCustomError: there is no such benchmark or metric, or it cannot be run.
    """
    if suite.lm_eval is None and name in evaluation.names():
        usual = evaluation.general(name)
        if suite.metric not in (None, *usual.metrics):
            hint = nearest(suite.metric, [*usual.metrics])
            raise fail(f"general.{name}.metric: there is no {shown(suite.metric)}; {hint}")
        return replace(usual, metrics=tuple(dict.fromkeys(filter(None, (suite.metric, *usual.metrics)))))
    task = suite.lm_eval or name
    if task not in described.names(include):
        where = f"general.{name}.lm_eval" if suite.lm_eval else "general"
        raise fail(f"{where}: unknown benchmark {shown(task)}; {_hint(task, include, ours=suite.lm_eval is None)}")
    try:
        return described.benchmark(name, task, include, suite.metric)
    except UserError as error:
        raise fail(f"general.{name}: {error}") from None


def check(
    general: Mapping[str, Suite],
    include: str | None,
    items: int | Literal["all"],
    allow_code: bool,
    taken: Collection[str],
) -> None:
    """Looks through a study's general benchmarks.

    Args:
        general: The entries.
        include: Folder of task files of one's own.
        items: Of an entry that says nothing else.
        allow_code: Whether code that a model wrote may be run.
        taken: Names of the domains.

    Raises:
        PydanticCustomError: one of them cannot be run.
    """
    for name, suite in general.items():
        if name in RESERVED or name in taken:
            raise fail(f"general.{name}: the name is taken by a domain or a column of the tables; choose another")
        benchmark = known(name, suite, include)
        if benchmark.runs_code and not allow_code:
            where = "outside of the sandbox, as lm-eval does" if benchmark.lm_eval else "in a sandbox"
            raise fail(
                f"general.{name}: runs code that the models write, {where}; "
                "allow it with evaluation.allow_code_execution: true, or leave it out"
            )
        if suite.num_fewshot is not None and not _takes_examples(benchmark):
            raise fail(f"general.{name}.num_fewshot: {name} has no solved examples; remove the key")
        if suite.max_new_tokens is not None and not _generates(benchmark):
            raise fail(f"general.{name}.max_new_tokens: {name} generates nothing; remove the key")
        asked, tasks = suite.items or items, len(described.tasks(benchmark)) if benchmark.lm_eval else 1
        if asked != "all" and asked < tasks:
            raise fail(
                f"general.{name}: its {tasks} tasks share its items, and these are {asked}; "
                f"set general.{name}.items to {tasks} or more, or to all"
            )


def _hint(name: str, include: str | None, ours: bool) -> str:
    own = evaluation.names() if ours else []
    near = difflib.get_close_matches(name, [*own, *described.names(include)], n=1)
    listed = f"{', '.join(own)}, or a task or group of lm-eval" if ours else "what `lm_eval ls tasks` lists"
    return f"did you mean {near[0]!r}?" if near else f"choose from {listed}"


def _takes_examples(benchmark: Benchmark) -> bool:
    if benchmark.lm_eval:
        return any(task.output_type != "loglikelihood_rolling" for task in described.tasks(benchmark))
    return benchmark.num_fewshot is not None


def _generates(benchmark: Benchmark) -> bool:
    if benchmark.lm_eval:
        return any(task.output_type == "generate_until" for task in described.tasks(benchmark))
    return benchmark.max_new_tokens is not None
