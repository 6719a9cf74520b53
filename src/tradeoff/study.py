"""A study: the one definition of what an experiment's YAML may say, and of the runs that follow from it.

Closed at every level: an unknown key, name or value stops with one line that says file, key and remedy. Everything that
reads a study (Snakefile, schema, documentation) reads it through this file.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, InstanceOf, TypeAdapter, ValidationError, WithJsonSchema, model_validator

from tradeoff import domains, evaluation, methods
from tradeoff.domains import Split
from tradeoff.section import Precision, Section, fail, nearest, plain
from tradeoff.training.settings import Training

BASE = "base"
MOST_SEED = 2**31 - 1  # what numpy and the tables hold
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SOURCE = r"^(package|hub|folder):.+$"
COMMIT = r"[0-9a-f]{40}"


class StudyError(ValueError):
    """A study that cannot run; the message is one line with file, key and remedy."""


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
        raise ValueError(f"{value!r} is no learning rate; write a number such as 2e-5") from None
    if not (number.is_finite() and 0 < float(number) < math.inf):
        raise ValueError(f"a learning rate must be above 0 and finite, got {value}; write a number such as 2e-5")
    mantissa, exponent = f"{float(number):.15e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


def _rate(value: object) -> str:
    try:
        return canonical_rate(value)
    except ValueError as error:
        raise fail(str(error)) from None


def _one_of(kind: str, choices: list[str]) -> BeforeValidator:
    def check(value: object) -> object:
        if value not in choices:
            raise fail(f"unknown {kind} {value!r}; {nearest(value, choices)}")
        return value

    return BeforeValidator(check)


def _method(value: object) -> methods.Method:
    if not isinstance(value, dict) or "recipe" not in value:
        raise fail("a method is a mapping with a recipe, such as {recipe: sft}")
    parameters = dict(value)
    name = parameters.pop("recipe")
    if name not in methods.names():
        raise fail(f"unknown recipe {name!r}; {nearest(name, methods.names())}")
    cls = methods.recipe(name)
    known = [f.name for f in dataclass_fields(cls)]
    for key in parameters:
        if key not in known:
            hint = nearest(key, known) if known else f"{name} has no hyper-parameters"
            raise fail(f"unknown key {key!r}; {hint}")
    try:
        return TypeAdapter(cls).validate_json(json.dumps(parameters, default=str, skipkeys=True), strict=True)
    except ValidationError as error:
        where = error.errors()[0]["loc"][:1]
        # A value of several types fails at each: all that it may be is the remedy.
        messages = [plain(e["msg"]).removeprefix("should be ") for e in error.errors() if e["loc"][:1] == where]
        key = str(where[0]) if where else name
        if key not in parameters:
            raise fail(f"{key}: {messages[0]}") from None
        raise fail(f"{key}: should be {' or '.join(messages)}, got {parameters[key]!r}") from None


class Model(Section):
    """Where a base model comes from."""

    source: Annotated[
        str,
        Field(
            pattern=SOURCE,
            description="package:<python package>/<file>.gguf, hub:<owner>/<name>, or folder:<path>",
        ),
    ]
    revision: Annotated[str | None, Field(description="commit of a hub model, which needs one: 40 hex digits")] = None

    @model_validator(mode="after")
    def _pinned(self) -> Model:
        if self.source.startswith("hub:") and not re.fullmatch(COMMIT, self.revision or ""):
            raise fail(
                "a hub model is read at one commit, since a branch moves; "
                f"add revision: <40 hex digits of the commit>, got {self.revision!r}"
            )
        return self


class Data(Section):
    """How much of each domain is drawn."""

    train: Annotated[int, Field(ge=1, description="training examples of each domain")]
    test: Annotated[int, Field(ge=2, description="test items of each domain")]
    seed: Annotated[int, Field(ge=0, le=MOST_SEED, description="seed of the draws")] = 0


class Evaluation(Section):
    """The same for the base and every result."""

    items: Annotated[int, Field(ge=2, description="items of each general benchmark")]
    batch_size: Annotated[int, Field(ge=1, description="fixed: batch size changes greedy outputs")] = 32
    precision: Annotated[Precision, Field(description="of the evaluation's forward passes")] = "float32"


Name = Annotated[str, Field(pattern=NAME)]
Rate = Annotated[str, BeforeValidator(_rate), WithJsonSchema({"type": ["string", "number"], "exclusiveMinimum": 0})]
MethodEntry = Annotated[
    InstanceOf[methods.Method],
    BeforeValidator(_method),
    WithJsonSchema(
        {
            "oneOf": [
                schema
                | {
                    "properties": {"recipe": {"const": name}, **schema.get("properties", {})},
                    "required": ["recipe", *schema.get("required", [])],
                    "additionalProperties": False,
                }
                for name in methods.names()
                for schema in [TypeAdapter(methods.recipe(name)).json_schema()]
            ]
        }
    ),
]
DomainName = Annotated[str, _one_of("domain", domains.names()), Field(json_schema_extra={"enum": domains.names()})]
BenchmarkName = Annotated[
    str, _one_of("benchmark", evaluation.names()), Field(json_schema_extra={"enum": evaluation.names()})
]


class Study(Section):
    """A grid of models, domains, methods, learning rates and seeds, and how each run is trained and evaluated."""

    study: Annotated[Name, Field(description="name, and folder under results/")]
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    domains: Annotated[list[DomainName], Field(min_length=1)]
    methods: Annotated[dict[Name, MethodEntry], Field(min_length=1)]
    learning_rates: Annotated[list[Rate], Field(min_length=1, description="every method runs at every rate")]
    seeds: Annotated[list[Annotated[int, Field(ge=0, le=MOST_SEED)]], Field(min_length=1)]
    general: Annotated[list[BenchmarkName], Field(min_length=1, description="benchmarks of general ability")]
    data: Data
    training: Training
    evaluation: Evaluation

    @model_validator(mode="after")
    def _coherent(self) -> Study:
        for key in ("domains", "learning_rates", "seeds", "general"):
            values = getattr(self, key)
            twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
            if twice is not None:
                raise fail(f"{key}: {twice} is listed twice; remove one")
        if not any(evaluation.benchmark(name).bounded for name in self.general):
            raise fail("general: base_text is no score; list another benchmark beside it")
        if BASE in self.methods:
            raise fail(f"methods.{BASE}: the name is taken by the base model; choose another")
        for name, method in self.methods.items():
            if method.source is not None:
                if method.source not in self.methods:
                    remedy = nearest(method.source, self.trained_methods) if self.trained_methods else "add it"
                    raise fail(f"methods.{name}.of: there is no method {method.source!r} in this study; {remedy}")
                if self.methods[method.source].source is not None:
                    raise fail(f"methods.{name}.of: {method.source!r} is derived itself; name a method that trains")
        return self

    @property
    def trained_methods(self) -> list[str]:
        """Methods that train."""
        return [name for name, method in self.methods.items() if method.source is None]

    @property
    def derived_methods(self) -> list[str]:
        """Methods that transform another method's finished run."""
        return [name for name, method in self.methods.items() if method.source is not None]

    def runs(self) -> Iterator[Run]:
        """Every run of the grid, in the study's order."""
        for model in self.models:
            for domain in self.domains:
                for method in self.methods:
                    for rate in self.learning_rates:
                        for seed in self.seeds:
                            yield Run(model, domain, method, rate, seed)

    def model_spec(self, model: str) -> dict[str, Any]:
        """What decides a base model's weights."""
        return self.models[model].model_dump()

    def data_spec(self, domain: str, split: Split) -> dict[str, Any]:
        """What decides the examples of a domain's split."""
        count = self.data.train if split == "train" else self.data.test
        version = domains.version(domain)
        return {"domain": domain, "version": version, "split": split, "count": count, "seed": self.data.seed}

    def run_spec(self, run: Run) -> dict[str, Any]:
        """What decides a run's weights, beside the hashes of base and data that are known only once these exist."""
        method = self.methods[run.method]
        spec = {
            "model": self.model_spec(run.model),
            "data": self.data_spec(run.domain, "train"),
            "method": method_spec(method),
            "learning_rate": run.rate,
            "seed": run.seed,
            "training": _finite(self.training.model_dump()),
        }
        if method.source is not None:
            spec["source"] = self.run_spec(self.source_of(run))
        return spec

    def source_of(self, run: Run) -> Run:
        """The run that a derived run transforms."""
        source = self.methods[run.method].source
        assert source is not None
        return Run(run.model, run.domain, source, run.rate, run.seed)

    def evaluation_spec(self) -> dict[str, Any]:
        """What decides how a model is evaluated; the benchmarks are named apart."""
        return {**self.evaluation.model_dump(), "seed": self.data.seed}


@dataclass(frozen=True)
class Run:
    """One training, or one transformation of a training."""

    model: str
    domain: str
    method: str
    rate: str
    seed: int

    @property
    def path(self) -> str:
        """Folder under `results/<study>/runs/`."""
        return f"{self.model}/{self.domain}/{self.method}/lr={self.rate}/seed={self.seed}"


def method_spec(method: methods.Method) -> dict[str, Any]:
    """A method as JSON: its recipe and all hyper-parameters."""
    return {"recipe": method.recipe, **_finite(asdict(method))}


def load(path: Path) -> Study:
    """Reads a study.

    Raises:
        StudyError: it cannot run; one line.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file; name a study such as config/quickstart.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({_one_line(error)}); name a YAML file in UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not YAML ({_one_line(error)}); mend the file") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: a study is a mapping of keys to values; see config/quickstart.yaml")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(_one_line(f"{path}: {_first_error(error)}", 1000)) from None


def load_for_snakemake(default: Path, configfiles: list[Path], config: Mapping[str, object]) -> Study:
    """The study of a Snakemake invocation, or exit status 1 after one line on stderr.

    Snakemake merges configuration files and command-line values into one dictionary, in which a default study would
    leak into a chosen one; so the chosen file alone is read, and what cannot be in it is refused.

    Args:
        default: Read when no file is chosen.
        configfiles: Of `--configfile`.
        config: Of `--config`.
    """
    try:
        if len(configfiles) > 1:
            raise StudyError(f"{configfiles[1]}: one study at a time; give a single --configfile")
        if config:
            raise StudyError(f"--config {next(iter(config))}: a study is a file; edit one and give it as --configfile")
        return load(configfiles[0] if configfiles else default)
    except StudyError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    is_key = first["loc"][-1:] == ("[key]",)
    where = ".".join(map(str, first["loc"][:-2] if is_key else first["loc"]))
    if first["type"] == "study":
        return f"{where}: {first['msg']}" if where else first["msg"]
    if first["type"] == "missing":
        return f"{where}: is missing; add it (see config/README.md)"
    if first["type"] == "too_short":
        return f"{where}: is empty; list at least one"
    message = _PATTERNS[first["ctx"]["pattern"]] if first["type"] == "string_pattern_mismatch" else plain(first["msg"])
    return f"{where}: {'a name ' if is_key else ''}{message}, got {_one_line(repr(first['input']), 60)}"


_PATTERNS = {
    NAME: "should be at most 64 lower-case letters, digits, dots, dashes and underscores, first a letter or digit",
    SOURCE: "should be package:<python package>/<file>.gguf, hub:<owner>/<name> or folder:<path>",
}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Infinity, which JSON lacks, as "inf"."""
    return {key: str(value) if value == float("inf") else value for key, value in values.items()}


def _one_line(text: object, limit: int = 200) -> str:
    return re.sub(r"\s+", " ", str(text))[:limit]


class _Loader(yaml.SafeLoader):
    """YAML whose `1e-6` is a number, and which refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.YAMLError(f"the key {key!r} stands twice, line {node.value[index][0].start_mark.line + 1}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def schema() -> dict[str, Any]:
    """JSON schema of a study, for editors; `workflow/schemas/study.schema.json` holds it."""
    described = Study.model_json_schema()
    for key in ("models", "methods"):
        described["properties"][key]["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def main() -> None:
    """`python -m tradeoff.study FILE` checks a study; `--schema` prints the schema."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.study", description="Check a study, or print its schema.")
    parser.add_argument("file", type=Path, nargs="?", default=Path("config/quickstart.yaml"))
    parser.add_argument("--schema", action="store_true")
    arguments = parser.parse_args()
    if arguments.schema:
        print(json.dumps(schema(), indent=2))
        return
    study = load_for_snakemake(arguments.file, [], {})
    print(f"{arguments.file}: {len(list(study.runs()))} runs")


if __name__ == "__main__":
    main()
