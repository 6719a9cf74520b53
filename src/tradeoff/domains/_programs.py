"""Scorers that run something: a response's code through a row's tests, and a function of a person's own."""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.util
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from tradeoff.domains import Metric
from tradeoff.domains._scorers import Scorer, Verdict, texts
from tradeoff.errors import UserError, one_line

Judge = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Code(Scorer[list[str]]):
    """The response's function passes every assertion of the answer, in the sandbox of the benchmark humaneval."""

    key = "tests"
    metrics = (Metric("passed"),)
    slow = True

    def wanted(self, given: Any) -> list[str]:
        """Python source of assertions that call the function, or a list of such."""
        tests = texts(given)
        if _function_of(tests) is None:
            raise ValueError(
                "'answer' should be assertions that call the function; write such as 'assert add(1, 2) == 3'"
            )
        return tests

    def default(self, response: str) -> list[str]:
        """No test: nothing is right."""
        return []

    def judge(self, response: str, wanted: list[str]) -> Verdict:
        """The response's code is read as that benchmark reads an answer."""
        from tradeoff.evaluation import sandbox
        from tradeoff.evaluation.tasks.humaneval import program

        function = _function_of(wanted)
        source = program("", function, response, True) if function else None
        if function is None or source is None:
            return Verdict(None, 0.0)
        tests = textwrap.indent("\n".join(wanted), "    ")
        check = f"def check(candidate):\n    {function} = candidate\n{tests}\n"
        verdict = sandbox.run(source, sandbox.Problem(f"def {function}(*_, **__):\n", function, check))
        return Verdict(source, float(verdict.outcome == "passed"))


@dataclass(frozen=True)
class Own(Scorer[Any]):
    """A function of a person's own, `score(response, answer)`, which gives 0 to 1, or None where there is no answer.

    Attributes:
        place: `<file>.py:<function>`; the path starts at the working folder.
    """

    place: str
    metrics = (Metric("score"),)
    least = 0.0
    slow = True

    def wanted(self, given: Any) -> Any:
        """Any value of JSON, with numbers as Python has them."""
        if isinstance(given, Decimal):
            return int(given) if given == given.to_integral_value() and abs(given) < 2**53 else float(given)
        if isinstance(given, list):
            return [self.wanted(part) for part in given]
        return {key: self.wanted(part) for key, part in given.items()} if isinstance(given, dict) else given

    def default(self, response: str) -> str:
        """The whole response."""
        return response

    def judge(self, response: str, wanted: Any) -> Verdict:
        """What the function gives.

        Raises:
            UserError: it raises, or gives something else; a number in its place would be none of its own.
        """
        try:
            found = _function(self.place)(response, wanted)
        except UserError:
            raise
        except Exception as error:  # whatever the function likes
            raise UserError(
                f"scorer {self.place}: raised {type(error).__name__} ({one_line(error, 100)}) for the response "
                f"{one_line(response, 60)!r}; correct the function"
            ) from None
        if found is None:
            return Verdict(None, 0.0)
        if not isinstance(found, bool | int | float) or math.isnan(found) or not 0 <= found <= 1:
            raise UserError(
                f"scorer {self.place}: gave {one_line(repr(found), 60)} for the response {one_line(response, 60)!r}; "
                "it should give a number from 0 to 1, or None"
            )
        return Verdict(response, float(found))


def file_of(place: str) -> str:
    """The file of a function of one's own."""
    return place.rpartition(":")[0]


def _function(place: str) -> Judge:
    path = Path(file_of(place))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"scorer {place}: {path} cannot be read ({error.strerror}); name a file of Python") from None
    return _loaded(place, hashlib.sha256(content).hexdigest())


@cache
def _loaded(place: str, sha256: str) -> Judge:
    """The function as of the file's content."""
    path, _, name = place.rpartition(":")
    spec = importlib.util.spec_from_file_location(f"scorer_{sha256[:16]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file likes
        raise UserError(f"scorer {place}: {path} cannot be loaded ({one_line(error)}); correct it") from None
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"scorer {place}: {path} has no function {name}; define it as def {name}(response, answer)")
    return found


def _function_of(tests: list[str]) -> str | None:
    """The function that assertions call: the first name called that is not Python's own."""
    try:
        tree = ast.parse("\n".join(tests))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not any(isinstance(node, ast.Assert) for node in tree.body):
        return None
    for node in (node for statement in tree.body if isinstance(statement, ast.Assert) for node in ast.walk(statement)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not hasattr(builtins, node.func.id):
            return node.func.id
    return None
