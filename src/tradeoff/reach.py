"""A digest of the part of a module that some use of it reaches, so that an edit elsewhere in the file changes nothing.

A domain's file holds its examples and its scoring. Its examples hang on the definitions that are reached by name from
its class without the members that only evaluation asks for; an edit to the others must not train anything again. What
cannot be told counts as reached: too much runs again rather than too little.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from tradeoff.provenance import code_digest, digest, module_file, syntax

# Members of a domain that its examples do not hang on, unless they ask for them.
SCORING = frozenset({"score", "metrics", "max_new_tokens", "labels", "excludes", "size", "runs_code", "scored_by"})


def examples_digest(module: str) -> str:
    """A digest of what decides a domain's examples, by the name of its module."""
    reached = _Reached(module.rpartition(".")[0])
    for name, nodes in _definitions(module).items():
        if any(isinstance(node, ast.ClassDef) and _is_domain(node) for node in nodes):
            reached.add(module, name)
    if reached.attributes & SCORING:
        return code_digest([module])
    parts = sorted([*place, meaning] for place, meaning in reached.parts.items())
    return digest({"parts": parts, "modules": code_digest(reached.modules)})


@dataclass
class _Reached:
    """What was reached: definitions in modules of one package, and other modules of the project, which count whole."""

    package: str
    parts: dict[tuple[str, str], str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)

    def add(self, module: str, name: str) -> None:
        """Adds a definition and all that it names."""
        if (module, name) in self.parts:
            return
        definitions = _definitions(module)
        nodes = definitions.get(name, [])  # none: a local name, or Python's own
        self.parts[module, name] = digest([ast.dump(node) for node in nodes])
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._imported(node, name)
                continue
            for part in ast.walk(node):
                if isinstance(part, ast.Attribute):
                    self.attributes.add(part.attr)
                elif isinstance(part, ast.Import | ast.ImportFrom):
                    self.modules.update(_modules(part))
                elif isinstance(part, ast.Name) and part.id in definitions:
                    self.add(module, part.id)
        if definitions.get(""):
            self.add(module, "")

    def _imported(self, node: ast.Import | ast.ImportFrom, name: str) -> None:
        origin = next((alias.name for alias in node.names if (alias.asname or alias.name) == name), name)
        source = node.module if isinstance(node, ast.ImportFrom) else None
        if source is None or not source.startswith(f"{self.package}.") or module_file(f"{source}.{origin}"):
            self.modules.update(_modules(node))
        else:
            self.add(source, origin)


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    """A module's statements by the name that each defines; those that define none, which always count, under ""."""
    found: dict[str, list[ast.stmt]] = defaultdict(list)
    for node in syntax(module).body:
        if isinstance(node, ast.ClassDef) and _is_domain(node):
            node.body = [part for part in node.body if not SCORING & set(_defined(part))] or [ast.Pass()]
        for name in _defined(node) or [""]:
            found[name].append(node)
    return found


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
        case ast.Assign():
            targets = [part for target in node.targets for part in ast.walk(target)]
            named = [part.id for part in targets if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
            return named if len(named) == len(node.targets) else []
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _is_domain(node: ast.ClassDef) -> bool:
    return any("kind" in _defined(part) for part in node.body)


def _modules(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The modules of this project that an import names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return (name for name in names if name.startswith("tradeoff") and module_file(name))
