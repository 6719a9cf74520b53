"""Entries of a study that are open to new files: methods, domains and general benchmarks, and how they are checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from decimal import Decimal, InvalidOperation
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, InstanceOf, TypeAdapter, ValidationError, WithJsonSchema

from tradeoff import domains, evaluation, methods
from tradeoff.errors import one_line, shown
from tradeoff.section import Section, fail, nearest, plain

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
BENCHMARK = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"  # lm-eval's names have capital letters too
Name = Annotated[str, Field(pattern=NAME)]
T = TypeVar("T")


# --- learning rates -------------------------------------------------------------------------------------------------


def canonical_rate(value: object) -> str:
    """A learning rate in its one spelling: `1e-6`, `1.0e-6` and `0.000001` are all `1e-06`.

    Raises:
        ValueError: not a finite number above zero.
    """
    try:
        if isinstance(value, bool) or not str(value).isascii() or "_" in str(value):  # Decimal would read them
            raise InvalidOperation
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{shown(value)} is no learning rate; write a number such as 2e-5") from None
    if not (number.is_finite() and 0 < float(number) < math.inf):
        raise ValueError(
            f"a learning rate must be above 0 and finite, got {one_line(value, 60)}; write a number such as 2e-5"
        )
    mantissa, exponent = f"{float(number):.14e}".split("e")  # 15 digits survive a float
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


def _rate(value: object) -> str:
    try:
        return canonical_rate(value)
    except ValueError as error:
        raise fail(str(error)) from None


Rate = Annotated[str, BeforeValidator(_rate), WithJsonSchema({"type": ["string", "number"], "exclusiveMinimum": 0})]


# --- a class by its module's name, and its fields -------------------------------------------------------------------


def _built(
    key: str,
    example: str,
    package: ModuleType,
    find: Callable[[str], type[T]],
    options: str,
    aliases: Collection[str] = (),
) -> Callable[[object], T]:
    """Reads a mapping whose `key` names a class, perhaps by an alias, and whose other keys are the class's fields."""
    names = [*package.names(), *aliases]

    def read(value: object) -> T:
        if not isinstance(value, dict) or key not in value:
            what = package.__name__.rpartition(".")[2].removesuffix("s")
            raise fail(f"a {what} is a mapping with a {key}, such as {{{key}: {example}}}")
        parameters = dict(value)
        name = parameters.pop(key)
        if name not in names:
            raise fail(f"unknown {key} {shown(name)}; {nearest(name, names)}")
        return _with_fields(find(name), name, parameters, options)

    return read


def _with_fields(cls: type[T], name: str, parameters: dict[Any, Any], options: str) -> T:
    known = [f.name for f in dataclass_fields(cls)]  # type: ignore[arg-type]
    own = [key for key in known if key != "seeds"]
    for key in parameters:
        if key not in known:
            hint = nearest(key, known) if own else f"{name} has no {options}"
            raise fail(f"unknown key {shown(key)}; {hint}")
    try:
        return TypeAdapter(cls).validate_json(json.dumps(parameters, default=str, skipkeys=True), strict=True)
    except ValidationError as error:
        where = error.errors()[0]["loc"][:1]
        # A value of several types fails at each: all that it may be is the remedy.
        messages = [plain(e["msg"]).removeprefix("should be ") for e in error.errors() if e["loc"][:1] == where]
        key = str(where[0]) if where else name
        if key not in parameters:
            raise fail(f"{key}: {messages[0]}") from None
        raise fail(f"{key}: should be {' or '.join(messages)}, got {shown(parameters[key])}") from None


def _schema(
    key: str, package: ModuleType, find: Callable[[str], type[Any]], aliases: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """One alternative for each class."""

    def called(name: str) -> dict[str, Any]:
        others = [alias for alias, known in aliases.items() if known == name]
        return {"enum": [name, *others]} if others else {"const": name}

    return {
        "oneOf": [
            schema
            | {
                "properties": {key: called(name), **schema.get("properties", {})},
                "required": [key, *schema.get("required", [])],
                "additionalProperties": False,
            }
            for name in package.names()
            for schema in [TypeAdapter(find(name)).json_schema()]
        ]
    }


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """Infinity, which JSON lacks, as "inf"."""
    return {key: str(value) if value == float("inf") else value for key, value in values.items()}


def method_spec(method: methods.Method) -> dict[str, Any]:
    """A method as JSON: its recipe and all hyper-parameters."""
    known = methods.hyper_parameters(type(method))
    return {"recipe": method.recipe, **finite({key: value for key, value in asdict(method).items() if key in known})}


def domain_spec(domain: domains.Domain) -> dict[str, Any]:
    """A domain as JSON: its kind and all options."""
    return {"domain": domain.kind, **asdict(domain)}


MethodEntry = Annotated[
    InstanceOf[methods.Method],
    BeforeValidator(_built("recipe", "sft", methods, methods.recipe, "hyper-parameters")),
    WithJsonSchema(_schema("recipe", methods, methods.recipe)),
]
DomainEntry = Annotated[
    InstanceOf[domains.Domain],
    BeforeValidator(_built("domain", "shop_mini", domains, domains.kind, "options", domains.ALIASES)),
    WithJsonSchema(_schema("domain", domains, domains.kind, domains.ALIASES)),
]


# --- lists of names that are short for mappings ---------------------------------------------------------------------


class Suite(Section):
    """How a general benchmark is run, where that differs from what is usual."""

    items: Annotated[int, Field(ge=2)] | Literal["all"] | None = Field(
        default=None, description="items of this benchmark, in place of evaluation.items"
    )
    num_fewshot: Annotated[int | None, Field(ge=0, description="solved examples ahead of the question")] = None
    max_new_tokens: Annotated[int | None, Field(ge=1, description="generation limit")] = None
    metric: Annotated[str | None, Field(min_length=1, description="the one that represents the benchmark")] = None
    lm_eval: Annotated[
        str | None, Field(min_length=1, description="lm-eval's task, group or tag that the entry is")
    ] = None


def _entries(thing: str, choices: list[str] | None, entry: Callable[[str], dict[str, Any]]) -> BeforeValidator:
    """Reads `[a, b]` as the mapping of these names to what is usual; without choices, names are checked later."""

    def read(value: object) -> object:
        if not isinstance(value, list):
            return value
        for index, name in enumerate(value):
            if choices is not None and name not in choices:
                raise fail(f"unknown {thing} {shown(name)}; {nearest(name, choices)}")
            if not isinstance(name, str):
                raise fail(f"{shown(name)} is no name of a {thing}; write a list of names, or a mapping of them")
            if name in value[:index]:
                raise fail(f"{name} is listed twice; remove one")
        return {name: entry(name) for name in value}

    return BeforeValidator(read)


def _or_list(names: dict[str, Any], entry: dict[str, Any]) -> WithJsonSchema:
    listed = {"type": "array", "items": names, "minItems": 1, "uniqueItems": True}
    return WithJsonSchema({"oneOf": [listed, entry]})


_suite = Suite.model_json_schema()
Domains = Annotated[
    dict[Name, DomainEntry],
    Field(min_length=1),
    _entries("domain", domains.names(), lambda name: {"domain": name}),
    _or_list(
        {"enum": domains.names()},
        {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {NAME: _schema("domain", domains, domains.kind, domains.ALIASES)},
            "additionalProperties": False,
        },
    ),
]
Suites = Annotated[
    dict[Annotated[str, Field(pattern=BENCHMARK)], Suite],
    Field(min_length=1),
    _entries("benchmark", None, lambda name: {}),
    _or_list(
        {"anyOf": [{"enum": evaluation.names()}, {"type": "string", "pattern": BENCHMARK}]},
        {
            "type": "object",
            "minProperties": 1,
            "properties": dict.fromkeys(evaluation.names(), _suite),
            "patternProperties": {BENCHMARK: _suite},
            "additionalProperties": False,
        },
    ),
]
