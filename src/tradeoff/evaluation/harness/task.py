"""A task or group of lm-eval as a measurement: its requests for our engine, and its verdicts as items."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from tradeoff.draws import draw
from tradeoff.errors import UserError, one_line
from tradeoff.evaluation import task
from tradeoff.evaluation.harness import data, metrics
from tradeoff.evaluation.harness.index import resolved
from tradeoff.evaluation.harness.tree import LIMITS, MEMBERS, Leaf, Node, expanded, leaves_of, primary_metric
from tradeoff.evaluation.lm import Response
from tradeoff.evaluation.samples import Sample, written
from tradeoff.models.chat import plain
from tradeoff.models.generation import Scored

Values = dict[str, tuple[float, float]]  # of each metric an item's value, and its weight in its task's mean


@dataclass(frozen=True)
class HarnessTask(task.Task):
    """See `task.Task`.

    Attributes:
        card: Of the data, as `data.fetch` wrote it.
    """

    card: Path

    def samples(self, responses: Sequence[Response], scored: Sequence[Scored]) -> list[Sample]:
        """See `Measurement`: the items of all tasks, with weights that make every metric lm-eval's."""
        outcomes = self._outcomes(responses, scored)
        rows = self._read(outcomes)
        found: dict[str, list[tuple[Sample, Values]]] = {}
        for leaf in self._leaves:
            by_item: dict[int, list[dict[str, Any]]] = {}  # one row for each filter
            for row in rows[leaf.name]:
                by_item.setdefault(row["doc_id"], []).append(row)
            numbers = sorted(by_item)
            found[leaf.name] = [
                self._item(leaf, by_item[item], outcomes[leaf.name, number, 0]) for number, item in enumerate(numbers)
            ]
        return self._weighted(found)

    def _item(self, leaf: Leaf, by_filter: list[dict[str, Any]], outcome: Response | Scored) -> tuple[Sample, Values]:
        loaded, row, values = self._loaded[leaf.name], by_filter[0], dict[str, tuple[float, float]]()
        invalid = {f["filter"]: bool(f["filtered_resps"] == ["[invalid]"]) for f in by_filter}
        for of_filter in by_filter:
            ending = "" if of_filter["filter"] == "none" else f",{of_filter['filter']}"
            for name in of_filter["metrics"]:
                kind = self._kinds(leaf.name, name)
                if kind is not None and (value := metrics.value_of(kind, of_filter[name])) is not None:
                    values[f"{'log_' if kind.startswith('log_') else ''}{name}{ending}"] = value
        key = self._primary(leaf)
        if key in values:
            values[self._key] = values[key]
        response = outcome if isinstance(outcome, Response) else Response(_likeliest(loaded, row))
        sample = Sample(
            benchmark=self.benchmark.name,
            task_version=f"{self.benchmark.version}+{self._data_version}",
            item=f"{leaf.name}-{row['doc_id']:05}",
            prompt=plain(str(row["arguments"][0][0])),
            target=str(row["target"]),
            **written(response),
            invalid=invalid.get(key.partition(",")[2] or "none", False),
            values={name: value for name, (value, _) in values.items()},
            weights={},
            question=task.question(loaded, row["doc"]),
        )
        return sample, values

    def _weighted(self, found: dict[str, list[tuple[Sample, Values]]]) -> list[Sample]:
        """The items with their weights in the whole.

        Raises:
            UserError: no item has the metric that represents the benchmark, or its values are none from 0 to 1.
        """
        keys = sorted({key for items in found.values() for _, values in items for key in values})
        if self._key not in keys:
            raise UserError(
                f"general.{self.benchmark.name}: no item has the metric {self._key}; name one of {', '.join(keys)} "
                "with metric"
            )
        for key in keys:
            having = {name: [(s, v[key][1]) for s, v in items if key in v] for name, items in found.items()}
            own = {name: [weight for _, weight in items] for name, items in having.items() if items}
            for name, weights in metrics.weighted(self._node, key, own, self._sizes).items():
                for (sample, _), weight in zip(having[name], weights, strict=True):
                    sample.weights[key] = weight
        samples = [sample for items in found.values() for sample, _ in items]
        if self.benchmark.bounded:
            self._check_bounded(samples)
        return samples

    def _check_bounded(self, samples: list[Sample]) -> None:
        for sample in samples:
            value = sample.values.get(self._key, 0.0)
            if not 0 <= value <= 1:
                raise UserError(
                    f"general.{self.benchmark.name}: the metric {self._key} of {sample.item} is {value:g}, no score "
                    "from 0 to 1; name another with metric"
                )

    # --- what lm-eval's files say -----------------------------------------------------------------------------------

    @cached_property
    def _node(self) -> Node:
        assert self.benchmark.lm_eval is not None
        return expanded(self.benchmark.lm_eval, self.benchmark.include)

    @property
    def _leaves(self) -> list[Leaf]:
        return leaves_of(self._node)

    @property
    def _key(self) -> str:
        """The metric that represents the benchmark."""
        return self.benchmark.metrics[0]

    def _primary(self, leaf: Leaf) -> str:
        """The metric of a task that counts in the benchmark's."""
        return primary_metric(leaf, None) if self._key == MEMBERS else self._key

    @cached_property
    def _data_version(self) -> str:
        return data.version(self.card)

    # --- lm-eval's tasks --------------------------------------------------------------------------------------------

    @cached_property
    def _manager(self) -> TaskManager:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        return TaskManager(include_defaults=False)

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        """lm-eval's tasks by name, with the fetched data.

        Raises:
            UserError: a task's data or functions are not what they should be.
        """
        return {leaf.name: self._task(leaf) for leaf in self._leaves}

    def _task(self, leaf: Leaf) -> Any:
        known = self.benchmark
        try:
            config = dict(resolved(dict(leaf.config), data.resolve))
            config |= {"task": leaf.name, "custom_dataset": _reader(self.card, leaf.name)}
            config["num_fewshot"] = config.get("num_fewshot") or 0 if known.num_fewshot is None else known.num_fewshot
            if leaf.output_type == "generate_until" and known.max_new_tokens is not None:
                options = {k: v for k, v in (config.get("generation_kwargs") or {}).items() if k not in LIMITS}
                usual = {"until": [config.get("fewshot_delimiter", "\n\n")], "do_sample": False}
                config["generation_kwargs"] = {**usual, **options, "max_gen_toks": known.max_new_tokens}
            (loaded,) = self._manager.load([config])["tasks"].values()
        except UserError as error:
            raise UserError(f"general.{known.name}: {error}") from None
        except Exception as error:  # a task's templates and functions may raise whatever they like
            raise UserError(
                f"general.{known.name}: lm-eval cannot build {leaf.name} from its data ({one_line(error)}); look at "
                "its task file and at its data set's columns"
            ) from None
        return loaded

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """All items of each task."""
        return {name: len(loaded.eval_docs) for name, loaded in self._loaded.items()}

    @cached_property
    def _drawn(self) -> dict[str, list[int]]:
        """See `task.Task`: drawn at random, in proportion to the tasks' sizes."""
        counts = metrics.allocated(self.items, self._sizes, f"general.{self.benchmark.name}")
        seed = self.settings["seed"]
        return {
            name: sorted(draw(range(size), counts[name], f"{name} {seed}", self.benchmark.name))
            for name, size in self._sizes.items()
            if counts[name] < size
        }

    def _kinds(self, name: str, metric: str) -> str | None:
        """What a task's metric is, a key of `metrics.TRIED`; one without an aggregation is a mean, as for lm-eval."""
        known = self._tried.setdefault(name, {})
        if metric not in known:
            aggregation = self._loaded[name].aggregation().get(metric)
            known[metric] = "mean" if aggregation is None else metrics.kind_of(aggregation)
        return known[metric]

    @cached_property
    def _tried(self) -> dict[str, dict[str, str | None]]:
        return {}


def _reader(card: Path, name: str) -> Callable[..., dict[str, Any]]:
    """What lm-eval calls in place of loading a data set."""

    def read(**_: Any) -> dict[str, Any]:
        return data.splits(card, name)

    return read


def _likeliest(loaded: Any, row: dict[str, Any]) -> str:
    """The text of the likeliest choice; nothing where there is no choice."""
    if loaded.OUTPUT_TYPE != "multiple_choice":
        return ""
    choices = loaded.doc_to_choice(row["doc"])
    likelihoods = [likelihood for likelihood, _ in row["filtered_resps"][: len(choices)]]
    return str(choices[likelihoods.index(max(likelihoods))]).strip()
