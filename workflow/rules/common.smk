# The study and what the rules ask of it. No rule lives here.

import os
import re
import sys
from functools import cache
from pathlib import Path

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))
# Jobs run this tree's code, whatever is installed; and print progress, not progress bars.
os.environ.update(
    PYTHONPATH=str(SOURCE),
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    PYTHONWARNINGS="ignore",
    TOKENIZERS_PARALLELISM="false",
    TQDM_DISABLE="1",
    TRANSFORMERS_VERBOSITY="error",
)

from dataclasses import asdict
from importlib.metadata import version
from shlex import quote

from tradeoff import sources
from tradeoff.evaluation import BASE_TEXT
from tradeoff.provenance import canonical_json, code_digest, digest, sha256_file
from tradeoff.reach import examples_digest
from tradeoff.study import AT, BASE, Run, load_for_snakemake, method_spec

STUDY = load_for_snakemake(
    Path(workflow.basedir) / "config/quickstart.yaml",
    [Path(file) for file in workflow.configfiles],
    workflow.config_settings.config,
)
if STUDY.data_root:
    os.environ.update(HF_HUB_OFFLINE="1")
ROOT = f"results/{STUDY.study}"
DATA = sources.registry()
HUB_TABLES = STUDY.hub_tables()
FETCHED = {*DATA, *HUB_TABLES}
# Names in tables/, each made by the module of its name but for `samples` (collect) and `hypervolume` (pareto).
TABLES = [
    "samples",
    "scores",
    "tradeoff",
    "comparisons",
    "pareto",
    "hypervolume",
    "views",
    "recommendation",
    "standing",
    "hypotheses",
    "against_paper",
    "trajectory",
]
EXPLANATIONS = ["code_length", "token_difficulty", "hard_tokens", "token_weights", "prediction", "tilting"]
EXPLANATION_MODULES = ["prefixes", "code_length", "token_difficulty", "token_weights", "prediction", "tilting"]
# In figures/, in the order of the page.
FIGURES = ["pareto", "rates", "changes", *(["trajectory"] if STUDY.trajectory else []), "views", "hypervolume"]
WHY = ["code_length", *(["code_length_trajectories"] if STUDY.trajectory else []), "token_difficulty", "weights"]
WHY += ["prediction", "tilting_step", "theorem_1", "theorem_2", "leakage", "equal_gain"]
TABLE_MODULES = ["collect", *(name for name in TABLES if name not in ("samples", "hypervolume"))]
TAUGHT = [name for name, domain in STUDY.domains.items() if domain.taught_by]
RUN = "{model}/{domain}/{method}/lr={rate}/seed={seed}"
# A study's `trajectory`: folders in a run's, which hold it as it was on the way.
SNAPSHOTS = [f"{os.sep}{AT}{fraction:g}" for fraction in STUDY.trajectory]


def either(names):
    """A regular expression for one of these names, or for nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=either(STUDY.all_models),
    benchmark=either(STUDY.from_lm_eval),
    datum=either(DATA),
    table=either(HUB_TABLES),
    domain=either(STUDY.domains),
    method=either(STUDY.methods),
    rate=r"[0-9.]+e[-+][0-9]+",
    seed=r"[0-9]+",


def run_of(wildcards, method=None):
    """The run that a path names, or another method's; it has to be one of the study's, in its spelling."""
    if wildcards.rate not in STUDY.learning_rates:
        raise WorkflowError(f"lr={wildcards.rate}: the study's paths have lr={', lr='.join(STUDY.learning_rates)}")
    return Run(wildcards.model, wildcards.domain, method or wildcards.method, wildcards.rate, int(wildcards.seed))


def run_spec(wildcards):
    return canonical_json(STUDY.run_spec(run_of(wildcards)))


def recipe_module(method):
    return f"tradeoff.methods.{STUDY.methods[method].recipe}"


def base_losses(wildcards):
    """The card and the file of the base's losses on the training set, for a method that weighs by them."""
    losses = "<study>/data/{domain}/{model}/base_nll"
    needed = "base_nll" in STUDY.methods[wildcards.method].needs
    return [f"{losses}.json", ancient(f"{losses}.parquet")] if needed else []


def base_files(wildcards):
    """The files of a model in a folder, so that another model in its place is imported anew."""
    return [local(str(file)) for file in STUDY.all_models[wildcards.model].files()]


def chat_template(wildcards):
    """A chat template in place of the model's own, which lies beside the study."""
    file = STUDY.all_models[wildcards.model].template_file
    return ancient(local(str(file))) if file else []


def domain_module(domain):
    return f"tradeoff.domains.{STUDY.domains[domain].kind}"


def examples_code(domain):
    """A digest of the code that draws a domain's examples, of which its scoring is no part."""
    return code_digest(["tradeoff.data"]) + examples_digest(domain_module(domain))


def local_file(wildcards):
    """Where a datum lies on this machine, if it does."""
    path = sources.local_path(DATA[wildcards.datum], STUDY.data_root)
    return local(str(path)) if path else []


def benchmark_data(name):
    """What decides the data of a benchmark of lm-eval: not how many of its items are asked, nor how."""
    spec = STUDY.benchmark_spec(name)
    usual = {"num_fewshot": None, "max_new_tokens": None, "metrics": []}
    kept = {key: spec[key] for key in ("files", "task_files")}
    return {**kept, "packages": version("lm_eval"), "benchmark": {**spec["benchmark"], **usual}}


def benchmark_files(wildcards):
    """The files on this machine that a benchmark's task files name."""
    return [ancient(local(file)) for file in STUDY.benchmark_spec(wildcards.benchmark)["files"]]


def split_of(wildcards):
    """The split that a drawn file belongs to; its questions are what a teacher has to answer."""
    return wildcards.part.removesuffix("_questions")


def drawn_from(wildcards):
    """What a split is made of, by name: the card of a datum, or a person's own file."""
    files = STUDY.read_by(wildcards.domain, split_of(wildcards))
    return {name: str(path or f"{ROOT}/sources/{name}.json") for name, path in files.items()}


def named(wildcards):
    """The files of `drawn_from`; a person's own lie beside the study, whatever stores the results."""
    return [ancient(file if name in FETCHED else local(file)) for name, file in drawn_from(wildcards).items()]


def data_of(wildcards):
    """What the cards of data in `drawn_from` stand for."""
    return [ancient(f"{ROOT}/sources/{name}") for name in drawn_from(wildcards) if name in FETCHED]


def deltas_of(wildcards, methods):
    """Cards and files of the differences that runs are, or are formed from, at their end and on their way."""
    runs = [run_of(wildcards, method) for method in methods]
    trained = [STUDY.source_of(run) if run.method in STUDY.derived_methods else run for run in runs]
    folders = dict.fromkeys(f"{ROOT}/runs/{run.path}{at}" for run in trained for at in ["", *SNAPSHOTS])
    return [ancient(f"{folder}/{name}") for folder in folders for name in ("card.json", "delta.safetensors")]


def evaluated_together():
    """What one job evaluates at one learning rate and seed: runs at their end and on their way; and for which seeds."""
    found = {}
    for seed, methods in STUDY.evaluated_together().items():
        runs = tuple(RUN.replace("{method}", method) + at for method in methods for at in ["", *SNAPSHOTS])
        found.setdefault(runs, []).append(str(seed))
    return found


def base_texts(wildcards):
    return "<study>/models/{model}/base_text.parquet" if BASE_TEXT in STUDY.general else []


@cache
def evaluated(domain=None):
    """What decides each benchmark of a model tuned on a domain, or of a base: its spec and its code."""
    specs = {}
    for name in STUDY.benchmarks(domain):
        own = domain_module(name) if name in STUDY.domains else f"tradeoff.evaluation.tasks.{name}"
        own = "tradeoff.evaluation.harness.task" if name in STUDY.from_lm_eval else own
        specs[name] = {**STUDY.benchmark_spec(name), "code": code_digest(["tradeoff.evaluation.evaluate", own])}
    return canonical_json(specs)


def tested_on(domain=None):
    """The cards and files of a model's test items, its domain's and the general benchmarks'."""
    splits = [f"{ROOT}/data/{name}/test" for name in STUDY.domains if domain in (None, name)]
    known = STUDY.benchmarks()
    data = dict.fromkeys(f"{ROOT}/sources/{datum}" for name in STUDY.general for datum in known[name].data)
    data |= dict.fromkeys(f"{ROOT}/benchmarks/{name}" for name in STUDY.from_lm_eval)
    cards = [f"{split}.json" for split in splits] + [ancient(f"{datum}.json") for datum in data]
    return cards + [ancient(f"{split}.jsonl") for split in splits] + [ancient(datum) for datum in data]


def benchmarks():
    """All benchmarks in the study's order, as JSON."""
    return canonical_json([[name, STUDY.benchmark_spec(name)["benchmark"]] for name in STUDY.benchmarks()])


def scored():
    """For each domain the benchmarks of its general score with their weights, as JSON."""
    return canonical_json({domain: STUDY.scored(domain) for domain in STUDY.domains})


def method_specs():
    """All methods of the study by name, as JSON."""
    return canonical_json({name: method_spec(method) for name, method in STUDY.methods.items()})


def general_items():
    """How many items each general benchmark has, in words."""
    items = {name: STUDY.benchmark_spec(name)["items"] or "all" for name in STUDY.general}
    return ", ".join(f"{count} of {name}" for name, count in items.items())


def templates():
    """A digest of the report's templates, which no import names."""
    return digest({path.name: sha256_file(path) for path in SOURCE.glob("tradeoff/report/templates/*.j2")})


def in_force():
    """The settings in force, and what an interval means, in words, for captions."""
    several = any(len(STUDY.seeds_of(name)) > 1 for name in STUDY.methods)
    sd = f"{STUDY.verdicts.assumed_sd:g}"
    between = "" if several else f"; one seed: a standard deviation of {sd} between trainings is assumed"
    return (
        f"{STUDY.data.train} training examples, {counted(STUDY.training.epochs, 'epoch')}, "
        f"{number_of_seeds()}, learning rates {', '.join(STUDY.learning_rates)}; {STUDY.data.test} test "
        f"items of each domain; general ability: {general_items()}. Intervals: 95 %, bootstrap over items, and the "
        f"error of few seeds{between}."
    )


def number_of_seeds():
    """How many seeds the methods have, in words."""
    counts = {name: len(STUDY.seeds_of(name)) for name in STUDY.methods}
    more = [f"{name} {count}" for name, count in counts.items() if count != len(STUDY.seeds)]
    return counted(len(STUDY.seeds), "seed") + (f" ({', '.join(more)})" if more else "")


def counted(count, name):
    """A number of things, such as `2 seeds`."""
    return f"{count} {name}{'' if count == 1 else 's'}"


def entries():
    """Every base and run of the study: where it is in the study's folder, what was asked for, what must be there."""
    bases = [
        {
            "folder": f"runs/{model}/{BASE}",
            "model": model,
            "domain": None,
            "method": BASE,
            "rate": None,
            "seed": None,
            "spec": None,
            "benchmarks": list(STUDY.benchmarks()),
            "base_folder": f"models/{model}",
        }
        for model in STUDY.models
    ]
    runs = [
        {
            "folder": f"runs/{run.path}{at}",
            "model": run.model,
            "domain": run.domain,
            "method": run.method,
            "rate": run.rate,
            "seed": run.seed,
            "spec": STUDY.run_spec(run),
            "benchmarks": list(STUDY.benchmarks(run.domain)),
            "base_folder": f"models/{run.model}",
        }
        for at in ["", *SNAPSHOTS]
        for run in STUDY.runs()
    ]
    return canonical_json(bases + runs)
