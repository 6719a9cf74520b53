"""The data sets of a benchmark of lm-eval: loaded once, written into the study's folder, and read from there.

A card beside them says what they are. So jobs need neither a network nor a cache, and depend on what the data hold. A
data set of the hub without a pinned revision is resolved to a commit here, which the card records.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tradeoff.errors import UserError, command, one_line
from tradeoff.evaluation import Benchmark, from_json
from tradeoff.evaluation.harness.described import BUILDERS, local, offline, tasks
from tradeoff.evaluation.harness.index import Function
from tradeoff.evaluation.harness.tree import Leaf
from tradeoff.provenance import checked, digest, read_json, sha256_file, write_json

COMMIT = re.compile("[0-9a-f]{40}")
# Of what is read from this machine: a cache that outlives the job could answer for a file that has changed.
CACHE = ".cache"


def fetch(known: Benchmark, data_root: str | None, card: Path) -> None:
    """Writes the data of all tasks of a benchmark into a folder of the card's name beside it, and then the card.

    Raises:
        UserError: a data set cannot be had, or lacks a split that its task file names.
    """
    folder = card.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    sources: dict[str, dict[str, Any]] = {}
    needed = _needed(known)
    folder.mkdir(parents=True)
    for number, (key, leaves) in enumerate(needed.items()):
        origin, loaded = _loaded(known.name, leaves[0], data_root, folder / CACHE)
        splits = sorted({split for leaf in leaves for split in _splits(leaf)})
        if missing := [split for split in splits if split not in loaded]:
            raise UserError(
                f"general.{known.name}: {origin['path']} has no split {missing[0]}; it has {', '.join(sorted(loaded))}"
            )
        place = folder / f"{number:03}"
        for split in splits:
            loaded[split].save_to_disk(str(place / split))
        files = sorted(file for file in place.rglob("*") if file.is_file())
        sources[key] = {
            **origin,
            "folder": place.name,
            "rows": {split: len(loaded[split]) for split in splits},
            "files": {str(file.relative_to(folder)): sha256_file(file) for file in files},
            "sha256": digest([sha256_file(file) for file in files if file.suffix == ".arrow"]),
        }
        del loaded
        shutil.rmtree(folder / CACHE, ignore_errors=True)
    content = {"name": known.name, "lm_eval": known.lm_eval, "sources": list(sources.values())}
    places = {leaf.name: list(sources).index(key) for key, leaves in needed.items() for leaf in leaves}
    write_json(card, {**content, "tasks": places, "sha256": digest([s["sha256"] for s in sources.values()])})


def prefetch(known: Benchmark, data_root: str | None) -> list[str]:
    """Brings the data of all tasks of a benchmark to the caches on this machine; returns them with their revisions.

    Args:
        known: The benchmark.
        data_root: Where data sets may lie already; others come from the hub in spite of it.

    Raises:
        UserError: as `fetch`.
    """
    found: dict[str, None] = {}
    for leaf, *_ in _needed(known).values():
        path = str(leaf.config.get("dataset_path") or "")
        if leaf.config.get("custom_dataset") or not (_is_here(path) or local(path, data_root)):
            origin, _ = _loaded(known.name, leaf, None, None)
            found[f"{origin['path']}@{origin['revision'] or 'no revision'}"] = None
        else:
            found[f"{path}: on this machine"] = None
    return list(found)


def splits(card: Path, task: str) -> dict[str, Any]:
    """The data of one task of a fetched benchmark, by split.

    Raises:
        UserError: they are damaged; card and file are set aside.
    """
    from datasets import load_from_disk

    content = read_json(card)
    source, folder = content["sources"][content["tasks"][task]], card.with_suffix("")
    for name, sha256 in source["files"].items():
        checked(folder / name, card, sha256)
    return {split: load_from_disk(str(folder / source["folder"] / split)) for split in source["rows"]}


def version(card: Path) -> str:
    """The data sets of a fetched benchmark with their revisions, or their hashes where they have none."""
    named: dict[str, None] = {}
    for source in read_json(card)["sources"]:
        revision = source["revision"]
        named[f"{source['path']}@{revision[:12] if revision else 'sha256:' + source['sha256'][:12]}"] = None
    return "+".join(named) if len(named) <= 3 else f"{len(named)} data sets, digest {digest(list(named))}"


def resolve(function: Function) -> Any:
    """The function that a task file names.

    Raises:
        UserError: it cannot be imported.
    """
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    try:
        return _import_func_in_yml(function.name, Path(function.folder))
    except Exception as error:  # the module may do whatever it likes when it is imported
        lacking = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        remedy = f"pip install {lacking}" if lacking else "fix the module, or leave the benchmark out"
        raise UserError(
            f"the function {function.name} of {function.folder} cannot be imported ({one_line(error)}); {remedy}"
        ) from None


def _needed(known: Benchmark) -> dict[str, list[Leaf]]:
    """The tasks of a benchmark by their data sets."""
    found: dict[str, list[Leaf]] = {}
    for leaf in tasks(known):
        found.setdefault(digest(_named(leaf)), []).append(leaf)
    return found


def _named(leaf: Leaf) -> list[Any]:
    """What decides a task's data."""
    config = leaf.config
    own = [config["custom_dataset"], config.get("metadata")] if config.get("custom_dataset") else []
    return [config.get("dataset_path"), config.get("dataset_name"), config.get("dataset_kwargs"), *own]


def _splits(leaf: Leaf) -> Iterable[str]:
    shots = leaf.config.get("fewshot_config")
    named = [leaf.config.get(f"{part}_split") for part in ("training", "validation", "test", "fewshot")]
    named.append(shots.get("split") if isinstance(shots, dict) else None)
    return [split for split in named if split]


def _is_here(path: str) -> bool:
    """Whether a `dataset_path` is read from this machine; `datasets` then still may be told addresses of files."""
    return path in BUILDERS or Path(path).is_dir()


def _loaded(
    name: str, leaf: Leaf, data_root: str | None, cache: Path | None
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Where a task's data are from, and they.

    Args:
        name: Of the benchmark.
        leaf: The task.
        data_root: Where data sets of the hub may lie.
        cache: For what `datasets` makes of files on this machine; None for its usual one.
    """
    import datasets

    path = str(leaf.config.get("dataset_path") or "")
    options = {k: v for k, v in (leaf.config.get("dataset_kwargs") or {}).items() if k != "trust_remote_code"}
    origin = {"path": path, "config": leaf.config.get("dataset_name"), "revision": None}
    try:
        if function := leaf.config.get("custom_dataset"):
            origin["path"] = function.name if isinstance(function, Function) else str(function)
            return origin, resolve(function)(**(leaf.config.get("metadata") or {}), **options)
        folder = local(path, data_root)
        if cache is not None and (folder or _is_here(path)):
            options["cache_dir"] = str(cache)
        if folder is None and not _is_here(path):
            origin["revision"] = options["revision"] = _commit(path, options.get("revision"), data_root)
        loaded = datasets.load_dataset(str(folder or path), origin["config"], **options)
        if origin["revision"]:
            origin["revision"] = _commit_of(loaded) or origin["revision"]
        return origin, loaded
    except UserError as error:
        raise UserError(f"general.{name}: {error}") from None
    except Exception as error:  # `datasets` and the hub's client raise many kinds
        kept = offline(data_root)
        offline_told = f", and {kept} keeps the study off the network" if kept else ""
        remedy = f"put it into <data_root>/{path}, or run python -m tradeoff.prefetch STUDY with a network"
        raise UserError(
            f"general.{name}: the data set {origin['path']} cannot be loaded{offline_told} ({one_line(error)}); "
            f"{'fix the file' if path in BUILDERS else remedy}"
        ) from None


def _commit(path: str, asked: str | None, data_root: str | None) -> str:
    """The commit of a data set of the hub; off the network, the one that the hub's cache has under that name."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    if asked and COMMIT.fullmatch(asked):
        return asked
    known = Path(HF_HUB_CACHE) / f"datasets--{path.replace('/', '--')}" / "refs" / (asked or "main")
    if not offline(data_root):
        found = str(HfApi().dataset_info(path, revision=asked).sha)
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(found, encoding="utf-8")  # as the hub's client does, which is told a commit and no name here
        return found
    if not known.is_file():
        raise UserError(
            f"the data set {path} is not in the hub's cache on this machine; put it into <data_root>/{path}, or run "
            "python -m tradeoff.prefetch STUDY with a network"
        )
    return known.read_text(encoding="utf-8").strip()


def _commit_of(loaded: Mapping[str, Any]) -> str | None:
    """The commit in the cache's paths of a loaded data set: off the network it is of the newest that is there."""
    files = [file["filename"] for split in loaded.values() for file in split.cache_files]
    found = {part for file in files for part in Path(file).parts if COMMIT.fullmatch(part)}
    return found.pop() if len(found) == 1 else None


def main() -> None:
    """`python -m tradeoff.evaluation.harness.data BENCHMARK CARD`."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.evaluation.harness.data", description="Fetch the data of a benchmark of lm-eval."
    )
    parser.add_argument("benchmark", type=json.loads, help="JSON of Study.benchmark_spec")
    parser.add_argument("card", type=Path, help="JSON to write")
    parser.add_argument("--data-root")
    a = parser.parse_args()
    fetch(from_json(a.benchmark["benchmark"]), a.data_root or None, a.card)


if __name__ == "__main__":
    command(main)
