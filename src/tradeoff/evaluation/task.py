"""Our task files under lm-eval's evaluator: a study's settings in, every item's outcome out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel

from tradeoff.errors import UserError
from tradeoff.evaluation import INVALID, TASKS, Benchmark
from tradeoff.evaluation.lm import GreedyLM, Response
from tradeoff.evaluation.samples import Sample, written
from tradeoff.models.chat import Chat, plain
from tradeoff.progress import Progress


@dataclass(frozen=True)
class Task:
    """An lm-eval task of ours, with a study's settings.

    Attributes:
        benchmark: Its name, few-shot examples and limit.
        items: How many; None for all.
        files: Where its data lie.
        chat: How the model is talked to.
        settings: `Study.evaluation_spec`.
    """

    benchmark: Benchmark
    items: int | None
    files: dict[str, str]
    chat: Chat
    settings: dict[str, Any]

    def prompts(self) -> list[str]:
        """What a model reads, item by item."""
        self._loaded.build_all_requests(
            system_instruction=self.settings["system_prompt"],
            apply_chat_template=self._templated,
            fewshot_as_multiturn=self._templated,
            chat_template=self.chat.prompt_or_continued if self._templated else None,
        )
        return [instance.args[0] for instance in self._loaded.instances]

    def run(self, model: PreTrainedModel, context: int | None, label: str) -> list[Sample]:
        """A model's outcomes; see `respond` for its context."""
        known, size = self.benchmark, self.settings["batch_size"]
        progress = Progress(label, len(self._loaded.eval_docs))
        lm = GreedyLM(model, self.chat, size, context, progress.advance)
        results = simple_evaluate(
            lm,
            tasks=[self._loaded],
            batch_size=size,
            apply_chat_template=self._templated,
            fewshot_as_multiturn=self._templated,
            system_instruction=self.settings["system_prompt"],
            task_manager=self._manager,
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
        )
        assert results is not None
        rows: dict[int, list[dict[str, Any]]] = {}  # of each item, one for each filter
        for row in results["samples"][known.name]:
            rows.setdefault(row["doc_id"], []).append(row)
        return [_sample(known, by_filter, lm.responses[known.name, item]) for item, by_filter in sorted(rows.items())]

    @property
    def _templated(self) -> bool:
        return self.chat.tokenizer.chat_template is not None

    @cached_property
    def _manager(self) -> TaskManager:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        drawn = {"count": self.items, "seed": self.settings["seed"], "files": self.files, "chat": self._templated}
        return TaskManager(include_path=str(TASKS), include_defaults=False, metadata=drawn)

    @cached_property
    def _loaded(self) -> Any:
        """lm-eval's task.

        Raises:
            UserError: it has fewer items than asked for, or its data are not what they should be.
        """
        known = self.benchmark
        try:
            (loaded,) = self._manager.load([known.name])["tasks"].values()
        except ValueError as error:
            raise UserError(f"general.{known.name}: {error}") from None
        loaded.set_config("num_fewshot", known.num_fewshot or 0)
        options = {"max_gen_toks": known.max_new_tokens}
        if not self._templated and (until := loaded.config.metadata.get("until_without_chat")):
            options["until"] = until
        loaded.set_config("generation_kwargs", options, update=True)
        return loaded


def _sample(known: Benchmark, by_filter: list[dict[str, Any]], response: Response) -> Sample:
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
        prompt=plain(row["arguments"][0][0]),
        target=str(row["target"]),
        **written(response),
        invalid=bool(values[INVALID + comma + first_filter]),
        values=values,
        weights=weights,
    )
