"""A study: the one definition of what an experiment's YAML may say, and of the runs that follow from it.

Closed at every level: an unknown key, name or value stops with one line that says file, key and remedy. Everything that
reads a study (Snakefile, schema, documentation) reads it through this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from tradeoff import evaluation, sources, suites
from tradeoff.domains import Split
from tradeoff.entries import (
    BENCHMARK,
    NAME,
    Domains,
    MethodEntry,
    Name,
    Rate,
    Suite,
    Suites,
    canonical_rate,
    domain_spec,
    finite,
    method_spec,
)
from tradeoff.errors import UserError, one_line, shown
from tradeoff.evaluation import BASE, BASE_TEXT, BASE_TEXTS, Benchmark
from tradeoff.evaluation.harness import described as harness
from tradeoff.hub import HubTable
from tradeoff.section import Precision, Section, Seed, fail, nearest, plain
from tradeoff.training.settings import AT, Training

if TYPE_CHECKING:
    from tradeoff.models.chat import Settings

__all__ = ["AT", "BASE", "Run", "Study", "StudyError", "canonical_rate", "load", "load_for_snakemake", "method_spec"]

SOURCE = r"^(package|hub|folder):.+$"
COMMIT = r"[0-9a-f]{40}"
DATA_ROOT = "data_root"
Items = Annotated[int, Field(ge=2)] | Literal["all"]
Fraction = Annotated[float, Field(ge=0.001, le=0.999)]


class StudyError(UserError):
    """A study that cannot run; the message is one line with file, key and remedy."""


def _day(value: object) -> str:
    """A date in its one spelling."""
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise fail(f"should be a day such as 2024-07-26, got {shown(value)}") from None


def _chat_template(value: object) -> object:
    """Arguments, or a file."""
    if isinstance(value, dict):
        named = all(
            isinstance(key, str) and isinstance(given, bool | int | float | str) for key, given in value.items()
        )
    else:
        named = value is None or (isinstance(value, str) and bool(value))
    if not named:
        raise fail(f"should be arguments such as {{enable_thinking: false}} or a file, got {shown(value)}")
    return value


ARGUMENT = {"type": ["boolean", "number", "string"]}
ChatTemplate = Annotated[
    dict[str, bool | int | float | str] | str | None,
    BeforeValidator(_chat_template),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "object", "additionalProperties": ARGUMENT},
                {"type": "string", "minLength": 1},
                {"type": "null"},
            ]
        }
    ),
]
Day = Annotated[str, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


def _weights(value: object) -> object:
    """Benchmarks' weights; a list of names is short for equal ones."""
    if not isinstance(value, list):
        return value
    if twice := next((name for n, name in enumerate(value) if name in value[:n]), None):
        raise fail(f"{shown(twice)} is listed twice; remove one")
    if not all(isinstance(name, str) for name in value):
        raise fail("should be names of benchmarks, such as [mmlu, ifeval], or weights, such as {mmlu: 2, ifeval: 1}")
    return dict.fromkeys(value, 1.0)


WEIGHTS = {
    "oneOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        {"type": "object", "minProperties": 1, "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
        {"type": "null"},
    ]
}


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
    chat_template: Annotated[
        ChatTemplate,
        Field(description="arguments of the chat template, such as {enable_thinking: false}, or a file in its place"),
    ] = None
    response_prefix: Annotated[str, Field(description="text with which every response begins; part of the prompt")] = ""
    date: Annotated[Day, Field(description="day that a chat template prints, in place of today's")] = "2024-07-26"
    parameters: Annotated[float | None, Field(gt=0, description="number of weights, for make plan alone")] = None

    @property
    def template_file(self) -> Path | None:
        """A chat template in place of the model's own."""
        return Path(self.chat_template) if isinstance(self.chat_template, str) else None

    def files(self) -> list[Path]:
        """The files of a model in a folder; none of another source."""
        kind, place = self.source.split(":", 1)
        try:
            known = sorted(Path(place).iterdir()) if kind == "folder" else []
        except (OSError, ValueError):
            return []
        return [file for file in known if file.is_file() and not file.name.startswith(".")]

    def package_sha256(self) -> str | None:
        """The hash of a package's file, wherever and whenever it was installed; None for another source."""
        kind, place = self.source.split(":", 1)
        try:
            return sources.sha256(sources.package_file(place)) if kind == "package" else None
        except UserError:  # the import says that it is missing
            return None

    def settings(self) -> Settings:
        """How the model is to be talked to."""
        from tradeoff.models.chat import Settings, read_template  # transformers, which reading a study does not need

        file = self.template_file
        return Settings(
            template=None if file is None else read_template(file),
            arguments=self.chat_template if isinstance(self.chat_template, dict) else {},
            response_prefix=self.response_prefix,
            date=self.date,
        )

    @model_validator(mode="after")
    def _pinned(self) -> Model:
        if self.source.startswith("hub:") and not re.fullmatch(COMMIT, self.revision or ""):
            raise fail(
                "a hub model is read at one commit, since a branch moves; "
                f"add revision: <40 hex digits of the commit>, got {shown(self.revision)}"
            )
        return self


class Data(Section):
    """How much of each domain is drawn."""

    train: Annotated[int, Field(ge=1)] | Literal["all"] = Field(description="training examples of each domain")
    test: Items = Field(description="test items of each domain")
    seed: Annotated[Seed, Field(description="seed of the draws")] = 0


class Evaluation(Section):
    """The same for the base and every result."""

    items: Items = Field(description="items of each general benchmark")
    batch_tokens: Annotated[
        int, Field(ge=1, description="most tokens of prompts and answers that a batch holds; bounds its memory")
    ] = 16384
    engine: Annotated[
        Literal["transformers", "vllm"], Field(description="what writes answers; likelihoods are always measured here")
    ] = "transformers"
    precision: Annotated[Precision, Field(description="of the evaluation's forward passes")] = "float32"
    system_prompt: Annotated[str | None, Field(description="system turn of the general benchmarks")] = None
    too_long: Annotated[
        Literal["wrong", "answer"],
        Field(
            description="an item that leaves no room in the model's context: counted as wrong, or answered all the same"
        ),
    ] = "wrong"
    allow_code_execution: Annotated[bool, Field(description="let a benchmark run code that a model wrote")] = False


class Verdicts(Section):
    """What is asked of the tables' verdicts; it changes no run."""

    tolerance: Annotated[float, Field(ge=0, le=1, description="gains that differ by no more are as good as equal")] = (
        0.05
    )
    assumed_sd: Annotated[
        float,
        Field(ge=0, le=0.5, description="of a score between trainings, at a rate at which no method has a second seed"),
    ] = 0.02
    one_seed: Annotated[bool, Field(description="recommend on the assumed spread between trainings")] = False


def _check_distinct(key: str, specs: dict[str, Any]) -> None:
    """Refuses two entries that say the same under two names: they would be one run, or one base, in all tables."""
    names = list(specs)
    for n, name in enumerate(names):
        if same := next((other for other in names[:n] if specs[other] == specs[name]), None):
            raise fail(f"{key}.{name}: says the same as {key}.{same}; remove one of them")


class Study(Section):
    """A grid of models, domains, methods, learning rates and seeds, and how each run is trained and evaluated."""

    study: Annotated[Name, Field(description="name, and folder under results/")]
    data_root: Annotated[
        str | None, Field(min_length=1, description="folder of the data; with it, no network is touched")
    ] = None
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    teachers: dict[Name, Model] = Field(default={}, description="models that write training responses")
    domains: Domains
    methods: Annotated[dict[Name, MethodEntry], Field(min_length=1)]
    learning_rates: Annotated[list[Rate], Field(min_length=1, description="every method runs at every rate")]
    seeds: Annotated[list[Seed], Field(min_length=1, description="of every method without seeds of its own")]
    general: Suites
    general_score: Annotated[
        dict[str, Annotated[float, Field(gt=0, lt=1e6)]] | None,
        BeforeValidator(_weights),
        WithJsonSchema(WEIGHTS),
        Field(min_length=1, description="benchmarks that make the general score, with weights where they differ"),
    ] = None
    include: Annotated[str | None, Field(min_length=1, description="folder of lm-eval task files of one's own")] = None
    trajectory: list[Fraction] = Field(default=[], description="shares of a training after which it is evaluated too")
    allow_mixed: list[Literal["lock"]] = Field(default=[], description="what may differ between runs of one table")
    data: Data
    training: Training
    evaluation: Evaluation
    verdicts: Verdicts = Verdicts()

    @model_validator(mode="after")
    def _coherent(self) -> Study:
        for key in ("learning_rates", "seeds", "trajectory"):
            values = getattr(self, key)
            twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
            if twice is not None:
                raise fail(f"{key}: {twice} is listed twice; remove one")
        self._check_methods()
        self._check_seeds()
        self._check_domains()
        self._check_general()
        return self

    def _check_methods(self) -> None:
        if BASE in self.methods:
            raise fail(f"methods.{BASE}: the name is taken by the base model; choose another")
        _check_distinct("methods", {name: method_spec(method) for name, method in self.methods.items()})
        _check_distinct(
            "models", {name: known.model_dump(exclude={"parameters"}) for name, known in self.models.items()}
        )
        for name, method in self.methods.items():
            if method.source is not None:
                if method.source not in self.methods:
                    remedy = nearest(method.source, self.trained_methods) if self.trained_methods else "add it"
                    raise fail(f"methods.{name}.of: there is no method {shown(method.source)} in this study; {remedy}")
                if self.methods[method.source].source is not None:
                    raise fail(
                        f"methods.{name}.of: {shown(method.source)} is derived itself; name a method that trains"
                    )

    def _check_seeds(self) -> None:
        for name, method in self.methods.items():
            seeds = self.seeds_of(name)
            twice = [seed for i, seed in enumerate(seeds) if seed in seeds[:i]]
            if twice:
                raise fail(f"methods.{name}.seeds: {twice[0]} is listed twice; remove one")
            lacking = [s for s in seeds if method.source is not None and s not in self.seeds_of(method.source)]
            if lacking:
                raise fail(
                    f"methods.{name}.seeds: {method.source} has no seed {lacking[0]} to derive a run from; "
                    f"list some of {', '.join(map(str, self.seeds_of(str(method.source))))}"
                )

    def _check_domains(self) -> None:
        for name in self.teachers:
            if name in self.models:
                raise fail(f"teachers.{name}: the name is taken by a model of the study; choose another")
        for name, domain in self.domains.items():
            if name in evaluation.names():
                raise fail(f"domains.{name}: the name is taken by a general benchmark; choose another")
            if domain.runs_code and not self.evaluation.allow_code_execution:
                raise fail(
                    f"domains.{name}: runs code that the models write, in a sandbox; allow it with "
                    "evaluation.allow_code_execution: true, or choose another scorer"
                )
            if domain.taught_by is not None and domain.taught_by not in self.all_models:
                hint = nearest(domain.taught_by, list(self.all_models))
                raise fail(f"domains.{name}.teacher: there is no model {shown(domain.taught_by)} in this study; {hint}")

    def _check_general(self) -> None:
        settings = self.evaluation
        suites.check(self.general, self.include, settings.items, settings.allow_code_execution, list(self.domains))
        for name in self.general_score or ():
            if name not in self.general:
                raise fail(f"general_score.{name}: no such benchmark in general; {nearest(name, list(self.general))}")
            if not self._known(name).bounded:
                raise fail(f"general_score.{name}: is no score from 0 to 1; remove it, or name another of its metrics")
        for name in self.domains:
            if not self.scored(name):
                raise fail(
                    f"general: no benchmark is left for the general score of {name}; list one that scores from 0 to 1"
                )

    @property
    def all_models(self) -> dict[str, Model]:
        """Models that are tuned, and teachers."""
        return {**self.models, **self.teachers}

    @property
    def trained_methods(self) -> list[str]:
        """Methods that train."""
        return [name for name, method in self.methods.items() if method.source is None]

    @property
    def derived_methods(self) -> list[str]:
        """Methods that transform another method's finished run."""
        return [name for name, method in self.methods.items() if method.source is not None]

    def evaluated_together(self) -> dict[int, list[str]]:
        """The methods that have a seed, by seed: one job evaluates them at one learning rate."""
        seeds = dict.fromkeys(seed for name in self.methods for seed in self.seeds_of(name))
        return {seed: [name for name in self.methods if seed in self.seeds_of(name)] for seed in seeds}

    def seeds_of(self, method: str) -> Sequence[int]:
        """The seeds of a method's runs: its own, or the study's."""
        return self.methods[method].seeds or self.seeds

    def runs(self) -> Iterator[Run]:
        """Every run of the grid, in the study's order."""
        for model in self.models:
            for domain in self.domains:
                for method in self.methods:
                    for rate in self.learning_rates:
                        for seed in self.seeds_of(method):
                            yield Run(model, domain, method, rate, seed)

    def model_spec(self, model: str) -> dict[str, Any]:
        """What decides a base model's weights and prompts."""
        known = self.all_models[model]
        file = known.template_file
        spec = known.model_dump(exclude={"parameters"})
        return spec if file is None else {**spec, "chat_template": sources.sha256(file)}

    def data_spec(self, domain: str, split: Split) -> dict[str, Any]:
        """What decides the examples of a domain's split."""
        known = self.domains[domain]
        count = self.data.train if split == "train" else self.data.test
        options = domain_spec(known)
        if known.taught_by is None:  # how long an answer may be decides none of the examples but a teacher's
            options.pop("max_new_tokens", None)
        spec = {
            "domain": options,
            "version": known.version,
            "split": split,
            "count": None if count == "all" else count,
            "seed": self.data.seed,
            "files": {
                name: self._identity(name) if path is None else sources.sha256(path)
                for name, path in self.read_by(domain, split).items()
            },
        }
        if known.taught_by is not None:
            spec["teacher"] = self.model_spec(known.taught_by)
        return spec

    def run_spec(self, run: Run) -> dict[str, Any]:
        """What decides a run's weights, beside the hashes of base and data that are known only once these exist."""
        method = self.methods[run.method]
        spec = {
            "model": self.model_spec(run.model),
            "data": self.data_spec(run.domain, "train"),
            "method": method_spec(method),
            "learning_rate": run.rate,
            "seed": run.seed,
            "training": finite(self.training.model_dump()),
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
        """What decides how a model is evaluated on every benchmark."""
        kept = ("batch_tokens", "engine", "precision", "system_prompt", "too_long")
        return {**{key: getattr(self.evaluation, key) for key in kept}, "seed": self.data.seed}

    def distill_spec(self) -> dict[str, Any]:
        """What decides how a teacher writes: of the evaluation's settings, those that move its numbers."""
        return {key: self.evaluation_spec()[key] for key in ("batch_tokens", "precision")}

    def benchmarks(self, domain: str | None = None) -> dict[str, Benchmark]:
        """The benchmarks that a model tuned on a domain is evaluated on, or all; the domains' come first.

        They are as this study runs them: with its settings, and a version that ends with the version of their data.
        """
        own = [name for name in self.domains if domain in (None, name)]
        return {name: self._benchmark(name) for name in [*own, *self.general]}

    def benchmark_spec(self, name: str) -> dict[str, Any]:
        """What decides one benchmark, as JSON."""
        benchmark = self._benchmark(name)
        if name in self.domains:
            domain = self.domains[name]
            scored_by = {file: sources.sha256(Path(file)) for file in domain.scored_by()}
            return {"benchmark": asdict(benchmark), "domain": domain_spec(domain), "scored_by": scored_by}
        items = self.general[name].items or self.evaluation.items
        if name == BASE_TEXT:
            items = BASE_TEXTS if items == "all" else min(items, BASE_TEXTS)
        files = {datum: self._identity(datum) for datum in benchmark.data}
        spec = {"benchmark": asdict(benchmark), "items": None if items == "all" else items, "files": files}
        if benchmark.lm_eval is None:
            return spec
        return {
            **spec,
            "files": {file: sources.sha256(Path(file)) for file in harness.files(benchmark)},
            "task_files": harness.code(benchmark),
        }

    @property
    def from_lm_eval(self) -> list[str]:
        """The general benchmarks that are tasks or groups of lm-eval, or of task files of one's own."""
        return [name for name in self.general if self._known(name).lm_eval is not None]

    def _benchmark(self, name: str) -> Benchmark:
        if name in self.domains:
            usual, suite = evaluation.of_domain(name, self.domains[name]), Suite()
        else:
            usual, suite = self._known(name), self.general[name]
        registry = sources.registry()
        versions = [registry[datum].version(self.data_root) for datum in usual.data if datum in registry]
        return replace(
            usual,
            version="+".join(filter(None, dict.fromkeys([usual.version, *versions]))),
            num_fewshot=usual.num_fewshot if suite.num_fewshot is None else suite.num_fewshot,
            max_new_tokens=suite.max_new_tokens or usual.max_new_tokens,
        )

    def hub_tables(self) -> dict[str, HubTable]:
        """Data sets of the hub that domains of a person's own name, by the names of their files."""
        return {table.name: table for domain in self.domains.values() for table in domain.hub_tables()}

    def _known(self, name: str) -> Benchmark:
        return suites.known(name, self.general[name], self.include)

    def _identity(self, datum: str) -> str:
        if datum in (tables := self.hub_tables()):
            return tables[datum].identity
        return sources.identity(sources.registry()[datum], self.data_root)

    def bounded(self, domain: str) -> list[str]:
        """The general benchmarks that score from 0 to 1 and do not test the domain itself."""
        left_out = self.domains[domain].excludes
        known = {name: self._known(name) for name in self.general}
        return [name for name, b in known.items() if b.bounded and not {name, b.lm_eval} & left_out]

    def scored(self, domain: str) -> dict[str, float]:
        """Those of them that make the general score of a model tuned on the domain, with their weights."""
        weights = self.general_score or dict.fromkeys(self.general, 1.0)
        return {name: weights[name] for name in self.bounded(domain) if name in weights}

    def read_by(self, domain: str, split: Split) -> dict[str, Path | None]:
        """What a domain's split is made of: names of what is fetched, and paths of a person's own files."""
        fetched = {*sources.registry(), *self.hub_tables()}
        return {name: None if name in fetched else Path(name) for name in self.domains[domain].data(split)}

    def check_files(self) -> None:
        """Looks for the files that the study reads from this machine.

        Raises:
            UserError: one is missing, or has a name that Snakemake would read as a pattern.
        """
        registry = sources.registry()
        for where, named in self._paths():
            if braces := re.search(r"[{}]", named):
                raise UserError(
                    f"{where}: {shown(named)} has a {braces[0]!r}, which marks a pattern in Snakemake; rename the file "
                    "or folder"
                )
        for model, known in self.all_models.items():
            if known.template_file is not None and not sources.is_file(known.template_file):
                raise UserError(
                    f"models.{model}.chat_template: there is no file {one_line(known.template_file)}; name one, or "
                    "arguments such as {enable_thinking: false}"
                )
        for domain in self.domains:
            for split in get_args(Split):
                for name, path in self.read_by(domain, split).items():
                    if name in registry:
                        sources.local_path(registry[name], self.data_root)
                    elif path is not None and not sources.is_file(path):
                        raise self._no_file(domain, path)
            for file in map(Path, self.domains[domain].scored_by()):
                if not sources.is_file(file):
                    raise self._no_file(domain, file)
        for name in self.general:
            benchmark = self._known(name)
            for datum in benchmark.data:
                sources.local_path(registry[datum], self.data_root)
            if benchmark.lm_eval is not None:
                harness.check_data(benchmark, self.data_root)

    @staticmethod
    def _no_file(domain: str, path: Path) -> UserError:
        return UserError(f"domains.{domain}: there is no file {one_line(path)}; paths start at the working folder")

    def _paths(self) -> Iterator[tuple[str, str]]:
        """Every path on this machine that the study names, and where."""
        if self.data_root is not None:
            yield DATA_ROOT, self.data_root
        if self.include is not None:
            yield "include", self.include
        for model, known in self.all_models.items():
            if known.source.startswith("folder:"):
                yield f"models.{model}.source", known.source.removeprefix("folder:")
            if known.template_file is not None:
                yield f"models.{model}.chat_template", str(known.template_file)
        for domain in self.domains:
            for split in get_args(Split):
                yield from ((f"domains.{domain}", str(path)) for path in self.read_by(domain, split).values() if path)
            yield from ((f"domains.{domain}.scorer", path) for path in self.domains[domain].scored_by())


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
        raise StudyError(f"{path}: cannot be read ({one_line(error)}); name a YAML file in UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not YAML ({one_line(error)}); mend the file") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: a study is a mapping of keys to values; see config/quickstart.yaml")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(one_line(f"{path}: {_first_error(error)}", 1000)) from None


def load_for_snakemake(default: Path, configfiles: list[Path], config: Mapping[str, object]) -> Study:
    """The study of a Snakemake invocation, or exit status 1 after one line on stderr.

    Snakemake merges configuration files and command-line values into one dictionary, in which a default study would
    leak into a chosen one; so the chosen file alone is read, and what cannot be in it is refused. One value may be
    given beside it, since it says where data lie on this machine and not what they are: `data_root`.

    Args:
        default: Read when no file is chosen.
        configfiles: Of `--configfile`.
        config: Of `--config`.
    """
    try:
        if len(configfiles) > 1:
            raise StudyError(f"{configfiles[1]}: one study at a time; give a single --configfile")
        if other := [key for key in config if key != DATA_ROOT]:
            raise StudyError(f"--config {other[0]}: a study is a file; edit one and give it as --configfile")
        study = load(configfiles[0] if configfiles else default)
        if DATA_ROOT in config:
            study = study.model_copy(update={DATA_ROOT: str(config[DATA_ROOT])})
        study.check_files()
    except UserError as error:
        print(one_line(error, 1000), file=sys.stderr)
        sys.exit(1)
    return study


def from_command_line(file: Path, data_root: str | None) -> Study:
    """The study of a command line with `--data-root`, or exit status 1 after one line on stderr."""
    return load_for_snakemake(file, [], {DATA_ROOT: data_root} if data_root else {})


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    is_key = first["loc"][-1:] == ("[key]",)
    where = ".".join(one_line(part, 64) for part in (first["loc"][:-2] if is_key else first["loc"]))
    if first["type"] == "study":
        return f"{where}: {first['msg']}" if where else first["msg"]
    if first["type"] == "missing":
        return f"{where}: is missing; add it (see config/README.md)"
    if first["type"] == "too_short":
        return f"{where}: is empty; list at least one"
    message = _PATTERNS[first["ctx"]["pattern"]] if first["type"] == "string_pattern_mismatch" else plain(first["msg"])
    return f"{where}: {'a name ' if is_key else ''}{message}, got {shown(first['input'])}"


_PATTERNS = {
    BENCHMARK: "should be at most 96 letters, digits, dots, dashes and underscores; name another with lm_eval:",
    NAME: "should be at most 64 lower-case letters, digits, dots, dashes and underscores, first a letter or digit",
    SOURCE: "should be package:<python package>/<file>.gguf, hub:<owner>/<name> or folder:<path>",
}


class _Loader(yaml.SafeLoader):
    """YAML whose `1e-6` is a number, and which refuses a key given twice and text that no path or file can hold."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if re.search("[\0\ud800-\udfff]", str(value)):
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"{shown(value)} holds a character that no file can hold, line {line}")
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.YAMLError(
                    f"the key {shown(key)} stands twice, line {node.value[index][0].start_mark.line + 1}"
                )
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
    parser.add_argument("--data-root", help="where the data lie, in place of the study's data_root")
    parser.add_argument("--schema", action="store_true")
    arguments = parser.parse_args()
    if arguments.schema:
        print(json.dumps(schema(), indent=2))
        return
    study = from_command_line(arguments.file, arguments.data_root)
    print(f"{arguments.file}: {len(list(study.runs()))} runs")


if __name__ == "__main__":
    main()
