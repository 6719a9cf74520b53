# The study and what the rules ask of it. No rule lives here.

import os
import re
import sys
from pathlib import Path

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))
# Jobs run this tree's code, whatever is installed; and print progress, not progress bars.
os.environ["PYTHONPATH"] = str(SOURCE)
os.environ.update(
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    PYTHONWARNINGS="ignore",
    TOKENIZERS_PARALLELISM="false",
    TQDM_DISABLE="1",
    TRANSFORMERS_VERBOSITY="error",
)

from tradeoff.provenance import canonical_json, code_digest
from tradeoff.study import BASE, Run, load_for_snakemake, method_spec

STUDY = load_for_snakemake(
    Path(workflow.basedir) / "config/quickstart.yaml",
    [Path(file) for file in workflow.configfiles],
    workflow.config_settings.config,
)
RUN = "<study>/runs/{model}/{domain}/{method}/lr={rate}/seed={seed}"


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
    return Run(
        wildcards.model,
        wildcards.domain,
        wildcards.method,
        wildcards.rate,
        int(wildcards.seed),
    )


def run_spec(wildcards):
    return canonical_json(STUDY.run_spec(run_of(wildcards)))


def recipe_module(method):
    return f"tradeoff.methods.{STUDY.methods[method].recipe}"


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
