"""Task files by name, found without importing lm-eval, which takes seconds.

The rules are those of lm-eval's `TaskIndex`: files in sorted order, the first of a name in a folder stands, a later
folder's stands before an earlier one's, and a tag is the tasks that carry it. A test compares the two on all files.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from tradeoff.errors import UserError, one_line

Kind = Literal["task", "class", "group", "tag"]
# A key that decides what a file is, with its value's lines. All other keys are read when the file is asked for.
KEY = re.compile(
    r"^[\"']?(task|group|tag|include|class)[\"']?[ \t]*:[ \t]*(.*(?:\n(?:[ \t]+\S.*|- .*))*)$", re.MULTILINE
)
PLAIN = re.compile(r"[\"']?([\w.,/+ -]+)[\"']?[ \t]*(?:#.*)?")
IGNORED = {"__pycache__", ".ipynb_checkpoints"}
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Function(NamedTuple):
    """A `!function` of a task file: its dotted name, and the folder in which its module is looked for first."""

    name: str
    folder: str


@dataclass
class Entry:
    """What a name stands for.

    Attributes:
        kind: A task file, a task in Python, a group, or a tag.
        file: None for a tag.
        tasks: Names of the tasks that carry a tag of this name.
    """

    kind: Kind
    file: Path | None
    tasks: set[str] = field(default_factory=set)


def library() -> Path:
    """The folder of lm-eval's own task files."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the package lm-eval is not installed; pip install lm_eval")
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def index(include: str | None = None) -> dict[str, Entry]:
    """All names: lm-eval's, and those of a folder of one's own, which stand before them."""
    found = dict(_of_folder(library()))
    if include is not None:
        found |= _of_folder(Path(include))
    return found


@cache
def read(file: Path) -> dict[str, Any]:
    """A task file with what it includes; a function of it is a `Function`.

    Raises:
        UserError: it cannot be read.
    """
    return _merged(file, ())


def _merged(file: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    file = file.expanduser().resolve()
    if file in seen:
        raise UserError(f"{file}: includes itself; remove the include")
    content = dict(_content(file))
    includes = content.pop("include", [])
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        included = _merged(file.parent / name, (*seen, file))
        merged |= {key: value for key, value in included.items() if key != "task_list"}
    return merged | content


@cache
def _content(file: Path) -> dict[str, Any]:
    class Loader(_Base):
        pass

    Loader.add_constructor("!function", lambda _, node: Function(str(node.value), str(file.parent)))
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: no task file ({one_line(error)}); fix or remove it") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: no task file, which is a mapping of keys to values; fix or remove it")
    return content


@cache
def _of_folder(folder: Path) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    heads: dict[str, dict[str, str]] = {}
    for file in _files(folder):
        try:
            head = _head(file, heads)
            kind: Kind = "class" if "class" in head else "group" if "group" in head else "task"
            name = _value(head.get("group" if kind == "group" else "task", ""))
            tags = _value(head.get("tag", "")) if kind != "group" else None
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            continue  # as lm-eval does: a file that cannot be read has no name
        if isinstance(name, str) and name not in found:
            found[name] = Entry(kind, Path(file))
            for tag in tags if isinstance(tags, list) else [tags] if tags else []:
                found.setdefault(tag, Entry("tag", None)).tasks.add(name)
    return found


def _files(folder: Path) -> list[str]:
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        if IGNORED.isdisjoint(place.split(os.sep))
        for name in names
        if name.endswith(".yaml")
    )


def _head(file: str, known: dict[str, dict[str, str]]) -> dict[str, str]:
    """The keys of `KEY` that a file has, its includes' too, with the text of their values."""
    if file not in known:
        with open(file, encoding="utf-8") as opened:
            own = dict(KEY.findall(opened.read()))
        includes = _value(own.pop("include", ""))
        merged: dict[str, str] = {}
        for name in includes if isinstance(includes, list) else [includes] if includes else []:
            merged |= _head(os.path.normpath(os.path.join(os.path.dirname(file), name)), known)
        known[file] = merged | own
    return known[file]


def _value(text: str) -> Any:
    if plain := PLAIN.fullmatch(text):
        return plain[1].strip()
    return yaml.load(text, Loader=_Base)


Resolve = Callable[[Function], Any]


def resolved(value: Any, resolve: Resolve) -> Any:
    """A file's content with its functions in place of their names."""
    if isinstance(value, Function):
        return resolve(value)
    if isinstance(value, dict):
        return {key: resolved(item, resolve) for key, item in value.items()}
    return [resolved(item, resolve) for item in value] if isinstance(value, list) else value
