"""What a benchmark of lm-eval is made of: its tasks, the metric that represents it, and what cannot be run.

A group is expanded as by lm-eval's `TaskFactory`. Everything here is read from task files: no data set, no function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tradeoff.errors import UserError, one_line
from tradeoff.evaluation.harness.index import Entry, Function, index, read
from tradeoff.section import nearest

GROUP_FIELDS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata")
OUTPUT_TYPES = ("generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling")
# Metrics of a file that lists none, and aggregation and direction of those that lm-eval knows by name.
DEFAULT_METRICS = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
REGISTERED = {
    **dict.fromkeys(("acc", "acc_norm", "acc_mutual_info", "acc_bytes", "acc_all"), ("mean", True)),
    **dict.fromkeys(("exact_match", "likelihood"), ("mean", True)),
    **dict.fromkeys(("word_perplexity", "byte_perplexity"), ("weighted_perplexity", False)),
    "perplexity": ("perplexity", False),
    "bits_per_byte": ("bits_per_byte", False),
    "brier_score": ("brier_score", False),
    "bypass": ("bypass", True),
    "mcc": ("matthews_corrcoef", True),
    "f1": ("f1", True),
    "bleu": ("bleu", True),
    "chrf": ("chrf", True),
    "chrf++": ("chrf++", True),
    "ter": ("ter", False),
}
# Aggregations that are a weighted mean over items, or the exponential of one, of which the logarithm is kept.
EXPONENTIAL = ("perplexity", "weighted_perplexity")
MEANS = ("mean", "nanmean", "bits_per_byte", "brier_score", *EXPONENTIAL)
UNBOUNDED = ("likelihood", "bits_per_byte")
MEMBERS = "mean_of_members"
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # in the order of their priority
DEFAULT_LIMIT = 256  # lm-eval's


class Metric(NamedTuple):
    """A metric of a task.

    Attributes:
        name: lm-eval's.
        key: As items have it: `metric`, or under a filter `metric,filter`; of a perplexity, of its logarithm.
        bounded: A score from 0 to 1 of which higher is better, as far as its name tells.
        mean: Whether it is a weighted mean over items; None for a function, which is tried when it is at hand.
        aggregation: Its name.
    """

    name: str
    key: str
    bounded: bool
    mean: bool | None
    aggregation: str


@dataclass(frozen=True)
class Leaf:
    """One task.

    Attributes:
        name: lm-eval's.
        config: Its task file with a group's overrides; functions are `Function`s.
    """

    name: str
    config: Mapping[str, Any]

    @property
    def output_type(self) -> str:
        """What it asks of a model."""
        return str(self.config.get("output_type", "generate_until"))

    @property
    def filters(self) -> list[str]:
        """Names of its filters."""
        return [f["name"] for f in self.config.get("filter_list") or []] or ["none"]

    @property
    def metrics(self) -> list[Metric]:
        """All metrics, under all filters, in the file's order."""
        listed = self.config.get("metric_list") or [{"metric": m} for m in DEFAULT_METRICS.get(self.output_type, ())]
        return [_metric(metric, its_filter) for metric in listed for its_filter in self.filters]

    @property
    def names_at_work(self) -> bool:
        """Whether a metric is a function, which may give its results names of their own, such as `pass@1`."""
        return any(isinstance(entry["metric"], Function) for entry in self.config.get("metric_list") or [])

    @property
    def max_new_tokens(self) -> int | None:
        """Its generation limit; None where nothing is generated."""
        if self.output_type != "generate_until":
            return None
        options = self.config.get("generation_kwargs") or {}
        return int(next((options[key] for key in LIMITS if options.get(key) is not None), DEFAULT_LIMIT))


@dataclass(frozen=True)
class Group:
    """Several tasks under one name: a group, or the tasks that carry a tag.

    Attributes:
        name: lm-eval's.
        config: Its file; empty for a tag.
        members: In lm-eval's order.
    """

    name: str
    config: Mapping[str, Any]
    members: tuple[Node, ...]

    @property
    def leaves(self) -> list[Leaf]:
        """All tasks, each once."""
        found: dict[str, Leaf] = {}
        for member in self.members:
            for leaf in leaves_of(member):
                found.setdefault(leaf.name, leaf)
        return list(found.values())

    @property
    def aggregates(self) -> dict[str, Mapping[str, Any]]:
        """By metric, how lm-eval aggregates it."""
        listed = self.config.get("aggregate_metric_list") or []
        return {entry["metric"]: entry for entry in (listed if isinstance(listed, list) else [listed])}


Node = Leaf | Group


def leaves_of(node: Node) -> list[Leaf]:
    """All tasks of a benchmark."""
    return [node] if isinstance(node, Leaf) else node.leaves


@cache
def expanded(name: str, include: str | None = None) -> Node:
    """A task, group or tag by name.

    Raises:
        UserError: there is none, or a part of it cannot be run.
    """
    known = index(include)
    if name not in known:
        raise UserError(f"lm-eval has no task, group or tag {name!r}; {_hint(name, include)}")
    try:
        node = _built(name, known[name], {}, known)
    except RecursionError:
        raise UserError(f"the group {name} holds itself; fix its file") from None
    if not leaves_of(node):
        raise UserError(f"the group {name} has no tasks; fix its file")
    for leaf in leaves_of(node):
        if why := refusal(leaf):
            raise UserError(f"{'' if leaf.name == name else f'its task {leaf.name} '}{why}")
    return node


def primary_metric(node: Node, asked: str | None) -> str:
    """The metric that represents a benchmark, as items have it, or `MEMBERS`.

    Args:
        node: The benchmark.
        asked: `metric` or `metric,filter` by lm-eval's names, or `MEMBERS`; None for the usual one: of a task its first
            metric that is a score from 0 to 1, of a group the first that lm-eval aggregates and all tasks have.

    Raises:
        UserError: there is no such metric, or it is no mean over items.
    """
    if isinstance(node, Group):
        if asked is None:
            asked = next((name for name in node.aggregates if all(_has(leaf, name) for leaf in node.leaves)), MEMBERS)
        if asked == MEMBERS:
            return MEMBERS
        name, comma, its_filter = asked.partition(",")
        filters = [its_filter] if comma else _filters(node.aggregates.get(name, {}))
        found = next((leaf for leaf in node.leaves if _has(leaf, name)), node.leaves[0])
        return _chosen(found, ",".join([name, *filters[:1]]))
    if asked is not None:
        return _chosen(node, asked)
    usable = [metric for metric in node.metrics if metric.mean is not False]
    if not usable:
        raise UserError(_no_mean(node.metrics[0]) if node.metrics else "lists no metric; name another task")
    return next((metric.key for metric in usable if metric.bounded), usable[0].key)


def metric_of(node: Node, key: str) -> Metric:
    """The metric under a key of `primary_metric`, of the first task that has it; of `MEMBERS`, of the first task."""
    leaves = leaves_of(node)
    if key == MEMBERS:
        return metric_of(leaves[0], primary_metric(leaves[0], None))
    unlisted = Metric(key.partition(",")[0], key, True, None, "a function")
    return next((metric for leaf in leaves for metric in leaf.metrics if metric.key == key), unlisted)


def bounded(node: Node, key: str) -> bool:
    """Whether a benchmark's metric is a score from 0 to 1, as far as names tell."""
    if key == MEMBERS and isinstance(node, Group):
        return all(bounded(member, primary_metric(member, None)) for member in node.members)
    return metric_of(node, key).bounded


def refusal(leaf: Leaf) -> str | None:
    """Why a task cannot be run, or None."""
    options = leaf.config.get("generation_kwargs") or {}
    sampling = options.get("do_sample", float(options.get("temperature") or 0) > 0)
    if "class" in leaf.config:
        return "is written in Python, not as a task file; name another task"
    if leaf.output_type not in OUTPUT_TYPES:
        return f"has the output type {leaf.output_type}; those that are known are {', '.join(OUTPUT_TYPES)}"
    if any(leaf.config.get(key) for key in ("doc_to_image", "doc_to_audio")):
        return "shows images or plays sound, and models here read text; name another task"
    if leaf.output_type == "generate_until" and sampling:
        return "samples its answers, and only greedy ones are comparable; copy the file and set do_sample: false"
    if int(leaf.config.get("repeats") or 1) > 1:
        return "asks every question several times; copy the file and set repeats: 1"
    if not any(leaf.config.get(key) for key in ("dataset_path", "custom_dataset")):
        return "names no data set; fix its file"
    return None


def _built(name: str, entry: Entry, overrides: Mapping[str, Any], known: Mapping[str, Entry]) -> Node:
    if entry.kind == "tag":
        return Group(name, {}, tuple(_built(task, known[task], overrides, known) for task in sorted(entry.tasks)))
    assert entry.file is not None
    content = read(entry.file)
    if entry.kind == "group":
        return _group(name, content, overrides, known)
    return Leaf(name, {k: v for k, v in {**content, **overrides}.items() if k not in ("tag", "group", "task_list")})


def _group(name: str, content: Mapping[str, Any], given: Mapping[str, Any], known: Mapping[str, Entry]) -> Group:
    overrides = {**{k: v for k, v in content.items() if k not in GROUP_FIELDS}, **given}
    task = content.get("task")
    members = [m for item in (task if isinstance(task, list) else []) for m in _members(name, item, overrides, known)]
    return Group(name, {key: content[key] for key in GROUP_FIELDS if key in content}, tuple(members))


def _members(group: str, item: Any, overrides: Mapping[str, Any], known: Mapping[str, Entry]) -> Iterator[Node]:
    """What one line of a group's list stands for; a tag's tasks are members themselves."""
    if isinstance(item, dict) and "group" in item:
        name, own = item["group"], {key: value for key, value in item.items() if key != "group"}
        if name in known:
            yield _built(name, known[name], {**overrides, **own}, known)
        else:
            yield _group(f"{group}::{name}", item, overrides, known)
        return
    if isinstance(item, dict) and "task" not in item:
        raise UserError(f"the group {group} lists {one_line(item, 60)}, without a task or group; fix its file")
    name = item["task"] if isinstance(item, dict) else str(item)
    given = {**overrides, **(item if isinstance(item, dict) else {})}
    if name not in known:
        if "dataset_path" not in given:
            raise UserError(f"the group {group} lists {name}, which is no task; fix its file")
        yield Leaf(f"{group}::{name}", {**given, "task": f"{group}::{name}"})
    elif known[name].kind == "tag":
        for task in sorted(known[name].tasks):
            yield _built(task, known[task], {"task": task, **given}, known)
    else:
        yield _built(name, known[name], given, known)


def _metric(entry: Mapping[str, Any], its_filter: str) -> Metric:
    name = entry["metric"]
    name = name.name.rpartition(".")[2] if isinstance(name, Function) else str(name)
    usual, better = REGISTERED.get(name, ("none", True))
    aggregation = entry.get("aggregation", usual)
    known = None if isinstance(aggregation, Function) else aggregation in MEANS
    shown = aggregation.name if isinstance(aggregation, Function) else str(aggregation)
    stored = f"log_{name}" if shown in EXPONENTIAL else name
    key = stored if its_filter == "none" else f"{stored},{its_filter}"
    higher = entry.get("higher_is_better", better) in (True, "true", "True")
    is_score = known is not False and higher and stored == name and name not in UNBOUNDED
    return Metric(name, key, is_score, known, shown)


def _chosen(leaf: Leaf, asked: str) -> str:
    name, comma, its_filter = asked.partition(",")
    fitting = [m for m in leaf.metrics if asked in (m.key, m.name) or name in (m.name, m.key.partition(",")[0])]
    if comma and its_filter != "none":
        fitting = [m for m in fitting if m.key.partition(",")[2] == its_filter]
    if not fitting and leaf.names_at_work:
        return asked if comma or leaf.filters[0] == "none" else f"{asked},{leaf.filters[0]}"
    if not fitting:
        there = ", ".join(dict.fromkeys(m.name if m.key.startswith("log_") else m.key for m in leaf.metrics))
        raise UserError(f"metric: {leaf.name} has no {asked!r}; it has {there}")
    if fitting[0].mean is False:
        raise UserError(_no_mean(fitting[0]))
    return fitting[0].key


def _no_mean(metric: Metric) -> str:
    return f"its metric {metric.name} ({metric.aggregation}) is no mean over items, so it has no paired interval"


def _has(leaf: Leaf, name: str) -> bool:
    return any(metric.name == name and metric.mean is not False for metric in leaf.metrics)


def _filters(aggregate: Mapping[str, Any]) -> list[str]:
    found = aggregate.get("filter_list") or []
    return found if isinstance(found, list) else [found]


def _hint(name: str, include: str | None) -> str:
    remedy = nearest(name, sorted(index(include)))
    where = f" and those of {Path(include)}" if include else ""
    return remedy if remedy.startswith("did") else f"`lm_eval ls tasks` lists its tasks{where}"
