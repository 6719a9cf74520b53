# The study and what the rules ask of it. No rule lives here.

import os
import re
import sys
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

from tradeoff.provenance import canonical_json, code_digest
from tradeoff.study import BASE, Run, load_for_snakemake

STUDY = load_for_snakemake(
    Path(workflow.basedir) / "config/quickstart.yaml",
    [Path(file) for file in workflow.configfiles],
    workflow.config_settings.config,
)
ROOT = f"results/{STUDY.study}"
RUN = "{model}/{domain}/{method}/lr={rate}/seed={seed}"


def either(names):
    """A regular expression for one of these names, or for nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=either(STUDY.models),
    domain=either(STUDY.domains),
    method=either(STUDY.methods),
    rate=r"[0-9.]+e[-+][0-9]+",
    seed=r"[0-9]+",


def run_of(wildcards):
    """The run that a path names, which has to be one of the study's, in its spelling."""
    if wildcards.rate not in STUDY.learning_rates:
        raise WorkflowError(f"lr={wildcards.rate}: the study's paths have lr={', lr='.join(STUDY.learning_rates)}")
    return Run(wildcards.model, wildcards.domain, wildcards.method, wildcards.rate, int(wildcards.seed))


def run_spec(wildcards):
    return canonical_json(STUDY.run_spec(run_of(wildcards)))


def parquet(card):
    """The large file that a card stands for."""
    return str(Path(card).with_suffix(".parquet"))


def recipe_module(method):
    return f"tradeoff.methods.{STUDY.methods[method].recipe}"


def base_losses(wildcards):
    """The base's losses on the training set, for a method that weighs by them."""
    needed = "base_nll" in STUDY.methods[wildcards.method].needs
    return "<study>/data/{domain}/{model}/base_nll.json" if needed else []


def evaluation_code(benchmarks):
    """What decides the scores of each benchmark: the evaluation's code and the benchmark's own."""
    return canonical_json(
        {
            name: code_digest(
                [
                    "tradeoff.evaluation.evaluate",
                    f"tradeoff.evaluation.tasks.{name}",
                    f"tradeoff.domains.{name}",
                ]
            )
            for name in benchmarks
        }
    )


def entries():
    """Every base and run of the study: where it is, what was asked for, what must be there."""
    bases = [
        {
            "folder": f"{ROOT}/runs/{model}/{BASE}",
            "model": model,
            "domain": None,
            "method": BASE,
            "rate": None,
            "seed": None,
            "spec": None,
            "benchmarks": [*STUDY.domains, *STUDY.general],
            "base_folder": f"{ROOT}/models/{model}",
        }
        for model in STUDY.models
    ]
    runs = [
        {
            "folder": f"{ROOT}/runs/{run.path}",
            "model": run.model,
            "domain": run.domain,
            "method": run.method,
            "rate": run.rate,
            "seed": run.seed,
            "spec": STUDY.run_spec(run),
            "benchmarks": [run.domain, *STUDY.general],
            "base_folder": f"{ROOT}/models/{run.model}",
        }
        for run in STUDY.runs()
    ]
    return canonical_json(bases + runs)
