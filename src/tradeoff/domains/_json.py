"""Scorers of structured responses: valid JSON, and JSON that equals the answer, field by field.

A response is JSON if all that it says is, or else the first fenced block in it. A field is a path to a value that is
neither an object nor a list with something in it; numbers are compared as numbers, texts as by the other scorers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tradeoff.domains import Metric
from tradeoff.domains._formats import json_value
from tradeoff.domains._scorers import Scorer, Verdict, fold, kind_of, said

FENCE = re.compile(r"```[ \t]*(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
Field = tuple[tuple[str | int, ...], str]  # a path, and what stands there


@dataclass(frozen=True)
class JsonValid(Scorer[str]):
    """The response is JSON, whatever it says."""

    metrics = (Metric("json_valid"),)

    def wanted(self, given: Any) -> str:
        """Nothing is compared."""
        return ""

    def default(self, response: str) -> str | None:
        """Nothing is compared."""
        return ""

    def judge(self, response: str, wanted: str) -> Verdict:
        """An object or a list; a bare word or number is not what JSON is asked for."""
        found = _parsed(response)
        return Verdict(None, 0.0) if found is None else Verdict(said(response), 1.0)


@dataclass(frozen=True)
class JsonFields(Scorer[str]):
    """The share of fields that are the answer's: those alike among all that either has."""

    ignore_case: bool
    metrics = (Metric("json_fields"), Metric("json_equal"), Metric("json_valid"))

    def wanted(self, given: Any) -> str:
        """An object or a list, or a text that is one."""
        value = _parsed(given) if isinstance(given, str) else given if isinstance(given, dict | list) else None
        if value is None:
            raise ValueError(f"'answer' should be a JSON object or list, got {kind_of(given)}; write one")
        return _spelled(value)

    def default(self, response: str) -> str | None:
        """The JSON that the response is."""
        found = _parsed(response)
        return None if found is None else _spelled(found)

    def judge(self, response: str, wanted: str) -> Verdict:
        """A field of a list counts at its place."""
        found = _parsed(response)
        if found is None:
            return Verdict(None, 0.0, (0.0, 0.0))
        ours, theirs = (set(self._fields(value)) for value in (found, json_value(wanted)))
        return Verdict(_spelled(found), len(ours & theirs) / len(ours | theirs), (float(ours == theirs), 1.0))

    def _fields(self, value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Field]:
        if isinstance(value, dict | list) and value:
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from self._fields(part, (*path, key))
        elif isinstance(value, str):
            yield path, f"text {fold(value.strip(), self.ignore_case)}"
        elif isinstance(value, Decimal):
            yield path, f"number {value.normalize() if value.is_finite() and value else 0}"
        else:
            yield path, json.dumps(value)


def _parsed(text: str) -> Any:
    """The object or list that a text is or has in a fence; None if there is none."""
    fenced = FENCE.search(text)
    for candidate in (said(text), *([fenced[1]] if fenced else [])):
        try:
            value = json_value(candidate)
            _spelled(value)  # nested too deep to be spelled is too deep to be compared
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list):
            return value
    return None


def _spelled(value: Any) -> str:
    """JSON as text, keys sorted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
