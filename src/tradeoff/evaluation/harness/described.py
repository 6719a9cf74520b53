"""A benchmark of lm-eval as a study knows it, and what it reads; no data set is opened and lm-eval is not imported."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tradeoff import hub
from tradeoff.errors import UserError, one_line
from tradeoff.evaluation import Benchmark
from tradeoff.evaluation.harness.index import index
from tradeoff.evaluation.harness.tree import Leaf, Node, bounded, expanded, leaves_of, primary_metric
from tradeoff.provenance import digest, sha256_file

# What `datasets` reads files with; another `dataset_path` is a data set on the hub, or a folder.
BUILDERS = ("json", "csv", "parquet", "arrow", "text", "xml", "pandas")
REMOTE = ("http://", "https://", "hf://", "s3://")


@cache
def benchmark(name: str, task: str, include: str | None, metric: str | None) -> Benchmark:
    """A task or group as a benchmark.

    Args:
        name: In the study.
        task: lm-eval's name of it.
        include: Folder of task files of one's own.
        metric: As of `primary_metric`.

    Raises:
        UserError: it cannot be run, or has no such metric.
    """
    node = expanded(task, include)
    leaves, key = leaves_of(node), primary_metric(node, metric)
    return Benchmark(
        name,
        _version(node),
        (key,),
        bounded=bounded(node, key),
        runs_code=any(bool(leaf.config.get("unsafe_code")) for leaf in leaves),
        num_fewshot=_common({int(leaf.config.get("num_fewshot") or 0) for leaf in leaves}),
        max_new_tokens=_common({leaf.max_new_tokens for leaf in leaves}),
        lm_eval=task,
        include=include,
    )


def names(include: str | None) -> list[str]:
    """All names of tasks, groups and tags."""
    return sorted(index(include))


def tasks(known: Benchmark) -> list[Leaf]:
    """The tasks of a benchmark."""
    assert known.lm_eval is not None
    return leaves_of(expanded(known.lm_eval, known.include))


def files(known: Benchmark) -> list[str]:
    """The data files on this machine that its task files name."""
    named = [
        path for leaf in tasks(known) for path in _paths((leaf.config.get("dataset_kwargs") or {}).get("data_files"))
    ]
    return sorted({path for path in named if not path.startswith(REMOTE)})


def from_hub(known: Benchmark) -> list[str]:
    """The data sets on the hub, and addresses of files, that its task files name."""
    found = set()
    for leaf in tasks(known):
        path = leaf.config.get("dataset_path")
        if path and not leaf.config.get("custom_dataset"):
            if path not in BUILDERS and not Path(path).is_dir():
                found.add(str(path))
            remote = _paths((leaf.config.get("dataset_kwargs") or {}).get("data_files"))
            found |= {file for file in remote if file.startswith(REMOTE)}
    return sorted(found)


def check_data(known: Benchmark, data_root: str | None) -> None:
    """Looks for the data of a benchmark, as far as they should be on this machine.

    Raises:
        UserError: a file is missing, or a data set of the hub is not here while the study is kept off the network.
    """
    for file in files(known):
        if not Path(file).is_file():
            raise UserError(
                f"general.{known.name}: there is no file {one_line(file)}, which its task file names; paths start at "
                "the working folder"
            )
    if why := offline(data_root):
        for path in from_hub(known):
            if not (local(path, data_root) or cached(path)):
                where = f"put it into {data_root}/{path}, or " if data_root else ""
                raise UserError(
                    f"general.{known.name}: reads the hub data set {path}, which is not on this machine, and {why} "
                    f"keeps the study off the network; {where}run python -m tradeoff.prefetch STUDY where there is one"
                )


def local(path: str, data_root: str | None) -> Path | None:
    """The folder of a hub data set under a `data_root`, or None."""
    folder = None if data_root is None or path.startswith(REMOTE) else Path(data_root) / path
    return folder if folder is not None and folder.is_dir() else None


def cached(path: str) -> bool:
    """Whether the hub's cache on this machine has something of a data set."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (Path(HF_HUB_CACHE) / f"datasets--{path.replace('/', '--')}").is_dir()


def code(known: Benchmark) -> str:
    """A digest of a person's own task files and the functions beside them; lm-eval's own are its version."""
    folder = Path(known.include) if known.include else None
    kept = (".yaml", ".py", ".json", ".jsonl", ".csv", ".txt", ".parquet")
    found = sorted(file for file in folder.rglob("*") if file.suffix in kept or "yaml" in file.name) if folder else []
    return digest({str(file.relative_to(str(folder))): sha256_file(file) for file in found if file.is_file()})


def offline(data_root: str | None) -> str | None:
    """The setting that keeps a study off the network, or None."""
    if data_root is not None:
        return "data_root"
    return "HF_HUB_OFFLINE" if hub.offline() else None


def _version(node: Node) -> str:
    version = (node.config.get("metadata") or {}).get("version")
    if version is not None or isinstance(node, Leaf):
        return str(version if version is not None else 0)
    return "+".join(sorted({_version(leaf) for leaf in leaves_of(node)}))


def _common(values: set[Any]) -> Any:
    """What all tasks have; None where they differ, so that each has its own."""
    return values.pop() if len(values) == 1 else None


def _paths(data_files: Any) -> list[str]:
    if isinstance(data_files, dict):
        data_files = list(data_files.values())
    if isinstance(data_files, list):
        return [path for part in data_files for path in _paths(part)]
    return [] if data_files is None else [str(data_files)]
