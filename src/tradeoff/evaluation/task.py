"""Our task files under lm-eval's evaluator: a study's settings in, every item's outcome out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tradeoff.errors import UserError
from tradeoff.evaluation import INVALID, TASKS, Benchmark
from tradeoff.evaluation.lm import GreedyLM
from tradeoff.evaluation.samples import Sample
from tradeoff.progress import Progress


@dataclass(frozen=True)
class Task:
    """An lm-eval task of ours, with a study's settings.

    Attributes:
        benchmark: Its name, few-shot examples and limit.
        items: How many; None for all.
        files: Where its data lie.
        chat: The model has a chat template.
    """

    benchmark: Benchmark
    items: int | None
    files: dict[str, str]
    chat: bool


def run_task(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, settings: dict[str, Any], label: str
) -> list[Sample]:
    """Runs one lm-eval task.

    Raises:
        UserError: it has fewer items than asked for, or its data are not what they should be.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    known, size = task.benchmark, settings["batch_size"]
    drawn = {"count": task.items, "seed": settings["seed"], "files": task.files, "chat": task.chat}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=drawn)
    try:
        (loaded,) = manager.load([known.name])["tasks"].values()
    except ValueError as error:
        raise UserError(f"general.{known.name}: {error}") from None
    loaded.set_config("num_fewshot", known.num_fewshot or 0)
    options = {"max_gen_toks": known.max_new_tokens}
    if not task.chat and (until := loaded.config.metadata.get("until_without_chat")):
        options["until"] = until
    loaded.set_config("generation_kwargs", options, update=True)
    progress = Progress(label, len(loaded.eval_docs))
    lm = GreedyLM(model, tokenizer, size, progress.advance)
    results = simple_evaluate(
        lm,
        tasks=[loaded],
        batch_size=size,
        apply_chat_template=task.chat,
        fewshot_as_multiturn=task.chat,
        system_instruction=settings["system_prompt"],
        task_manager=manager,
        bootstrap_iters=0,
        log_samples=True,
        verbosity="ERROR",
    )
    assert results is not None
    rows: dict[int, list[dict[str, Any]]] = {}  # of each item, one for each filter
    for row in results["samples"][known.name]:
        rows.setdefault(row["doc_id"], []).append(row)
    return [_sample(known, by_filter, (known.name, item) in lm.truncated) for item, by_filter in sorted(rows.items())]


def _sample(known: Benchmark, by_filter: list[dict[str, Any]], truncated: bool) -> Sample:
    """An item's outcomes under all filters; the item is invalid if it is so under the benchmark's first one."""
    values, weights = {}, {}
    for row in by_filter:
        ending = "" if row["filter"] == "none" else f",{row['filter']}"
        if ending:
            row[INVALID] = row["filtered_resps"] == ["[invalid]"]
        for metric in dict.fromkeys([*row["metrics"], INVALID]):
            # A list is one item's several verdicts, such as IFEval's instructions: their mean, weighed by their number.
            verdicts = row[metric] if isinstance(row[metric], list) else [row[metric]]
            values[metric + ending] = sum(map(float, verdicts)) / len(verdicts)
            weights[metric + ending] = float(len(verdicts))
    row = by_filter[0]
    _, comma, first_filter = known.metrics[0].partition(",")
    return Sample(
        benchmark=known.name,
        task_version=known.version,
        item=f"{known.name}-{row['doc_id']:05}",
        prompt=row["arguments"][0][0],
        target=str(row["target"]),
        response=row["resps"][0][0],
        truncated=truncated,
        invalid=bool(values[INVALID + comma + first_filter]),
        values=values,
        weights=weights,
    )
