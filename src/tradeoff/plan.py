"""What a study will cost, before anything runs: jobs by stage, tokens, FLOPs, GPU-hours and disk.

An estimate, from sizes that are known before the data are at hand (`Domain.size`), and these assumptions: training
costs 6 FLOPs a parameter and token (4 where the base is frozen), reading 2 (Kaplan et al. 2020, arXiv 2001.08361); a
decoding step reads all weights once for a whole batch, answers run to their limit, and a teacher is asked once. A
measured run's card has the truth.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from gguf import GGUFReader
from safetensors import safe_open

from tradeoff import methods
from tradeoff.domains import Split
from tradeoff.errors import UserError, command
from tradeoff.provenance import read_json
from tradeoff.sources import package_file
from tradeoff.study import Study, from_command_line
from tradeoff.tables.needs import seen

# Dense bfloat16 matrix products, FLOP/s, and memory, bytes/s, by the makers' data sheets.
GPUS = {
    "H100": (989e12, 3.35e12),
    "A100": (312e12, 2.04e12),
    "L40S": (362e12, 0.864e12),
    "RTX4090": (165e12, 1.01e12),
}
# Items of "all".
ITEMS = {
    "ifeval": 541,
    "gsm8k": 1319,
    "humaneval": 164,
    "ifeval_mini": 2000,
    "arithmetic_mini": 2000,
    "knowledge_mini": 402,
}
DIFFER = 0.2  # share of items on which two runs are taken to differ in being right
GENERAL_PROMPT = 300  # tokens of a general benchmark's prompt that are not shared by its items


@dataclass
class Cost:
    """What some jobs cost together.

    Attributes:
        jobs: Number of jobs.
        tokens: Tokens that are trained on or read.
        flops: Operations.
        read_bytes: Weights that decoding steps read.
        disk_bytes: What is left on disk.
    """

    jobs: int = 0
    tokens: float = 0.0
    flops: float = 0.0
    read_bytes: float = 0.0
    disk_bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def hours(self, gpu: str, utilisation: float) -> float:
        """GPU-hours at that share of the GPU's peak rates."""
        flops, memory = GPUS[gpu]
        return (self.flops / flops + self.read_bytes / memory) / utilisation / 3600


def costs(study: Study) -> dict[str, Cost]:
    """The cost of each stage.

    Raises:
        UserError: a model's number of parameters is not known.
    """
    stages = {"import": Cost(), "data": Cost(), "train": Cost(), "derive": Cost(), "evaluate": Cost()}
    for model in study.all_models:
        stages["import"] += Cost(1, disk_bytes=4 * parameters(study, model))
    for name, known in study.domains.items():
        stages["data"] += Cost(2 + 2 * len(study.models))
        if known.taught_by is not None:
            weights = parameters(study, known.taught_by)
            for split in ("train", "test"):
                count = _count(study, name, split)
                stages["data"] += Cost(1) + _written(study, count, known.size.prompt, known.max_new_tokens, weights)
    for model in study.models:
        weights = parameters(study, model)
        stages["evaluate"] += sum((_answers(study, name, weights) for name in study.benchmarks()), Cost(1))
        for domain in study.domains:
            stages["evaluate"] += Cost(len(study.learning_rates) * len(study.evaluated_together()))
            asked = sum((_answers(study, name, weights) for name in study.benchmarks(domain)), Cost())
            for name, method in study.methods.items():
                cost, stage = _trained(study, domain, method, weights)
                for _ in range(len(study.learning_rates) * len(study.seeds_of(name))):
                    stages[stage] += cost
                    for _ in range(len(study.trajectory) + 1):
                        stages["evaluate"] += asked
    return stages


def parameters(study: Study, model: str) -> float:
    """A model's number of weights: as the study says, as its imported base has, or as its files at hand have.

    Raises:
        UserError: none of these is there.
    """
    known = study.all_models[model]
    card = Path("results") / study.study / "models" / model / "card.json"
    if known.parameters:
        return known.parameters
    if card.is_file():
        return float(read_json(card)["parameters"])
    kind, place = known.source.split(":", 1)
    if kind == "package":
        return float(sum(int(tensor.n_elements) for tensor in GGUFReader(package_file(place)).tensors))
    files = sorted(Path(place).glob("*.safetensors")) if kind == "folder" else []
    if not files:
        raise UserError(f"models.{model}: its size is not known yet; add parameters: 3.1e9, say, for make plan")
    return float(sum(_weights(file) for file in files))


def _weights(file: Path) -> int:
    with safe_open(file, "pt") as content:
        return sum(math.prod(content.get_slice(name).get_shape()) for name in content.keys())  # noqa: SIM118


def describe(study: Study, gpu: str, utilisation: float) -> Iterator[str]:
    """The plan as lines of text."""
    runs = list(study.runs())
    trained = [run for run in runs if study.methods[run.method].source is None]
    yield f"{study.study}: {len(runs)} runs, {len(trained)} of them trained, {len(runs) - len(trained)} derived"
    head = ("stage", "jobs", "tokens", "FLOPs", f"{gpu}-hours", "disk")
    stages = costs(study)
    rows = [head, *(_row(name, cost, gpu, utilisation) for name, cost in stages.items())]
    rows.append(_row("total", sum(stages.values(), Cost()), gpu, utilisation))
    for cells in rows:
        yield f"  {cells[0]:<9}" + "".join(f"{cell:>12}" for cell in cells[1:])
    yield f"An estimate at {utilisation:.0%} of {gpu}'s peak, all answers as long as they may be."
    yield from sights(study)


def sights(study: Study) -> Iterator[str]:
    """The smallest differences that a study can see, for each domain, as lines of text."""
    seeds = min(len(study.seeds_of(name)) for name in study.methods)
    sd, points = study.verdicts.assumed_sd, len(study.methods) * len(study.learning_rates)
    for domain in study.domains:
        scored = study.scored(domain)
        general = [_items(study, name) for name in scored]
        if 0 in general:  # not known beforehand
            continue
        at = seen(points, seeds, _count(study, domain, "test"), general, sd, DIFFER, list(scored.values()))
        tie = "answered" if at.difference <= study.verdicts.tolerance else "not answered"
        yield (
            f"{domain}: sees a gain of {100 * at.gain:.1f} points, a difference between two runs of "
            f"{100 * at.difference:.1f}, and a loss of {100 * at.loss:.1f}; a tie is {tie} (tolerance "
            f"{100 * study.verdicts.tolerance:g})"
        )
    yield (
        f"The least that 90 % of studies of {points} points see, if runs differ on {DIFFER:.0%} of the items and "
        f"trainings by a standard deviation of {sd:g}."
    )
    several = any(len(study.seeds_of(name)) > 1 for name in study.methods)
    if not several and not study.verdicts.one_seed:
        yield "One seed recommends nothing: give a method more (methods.<name>.seeds), or allow it (verdicts.one_seed)."


def _row(name: str, cost: Cost, gpu: str, utilisation: float) -> tuple[str, ...]:
    hours = f"{cost.hours(gpu, utilisation):.1f}"
    return name, f"{cost.jobs}", f"{cost.tokens:.1e}", f"{cost.flops:.1e}", hours, f"{cost.disk_bytes / 1e9:.0f} GB"


def _trained(study: Study, domain: str, method: methods.Method, weights: float) -> tuple[Cost, str]:
    """One run, and its stage."""
    if method.source is not None:
        return Cost(1), "derive"
    size, count = study.domains[domain].size, _count(study, domain, "train")
    tokens = float(count * (size.prompt + size.response) * study.training.epochs)
    at_once = max(study.training.batch_tokens, study.training.graph_tokens)
    split = study.training.batch_size * (size.prompt + size.response) > at_once
    twice = split and method.scope == "step" and not study.training.gradient_checkpointing
    a_token = (4 if method.frozen_base else 6) + (2 if twice else 0)
    stored = 0.01 if method.frozen_base else 1.0  # an adapter's share of the weights, about
    return Cost(1, tokens, a_token * weights * tokens, disk_bytes=2 * weights * stored), "train"


def _answers(study: Study, name: str, weights: float) -> Cost:
    """One model's answers to one benchmark."""
    spec = study.benchmark_spec(name)
    if name in study.domains:
        count, prompt = _count(study, name, "test"), study.domains[name].size.prompt
    else:
        count, prompt = _items(study, name), GENERAL_PROMPT
    return _written(study, count, prompt, spec["benchmark"]["max_new_tokens"] or 0, weights)


def _items(study: Study, name: str) -> int:
    """Items of a general benchmark that are used."""
    there, asked = ITEMS.get(name, 0), study.benchmark_spec(name)["items"]
    return there if asked is None else min(asked, there or asked)


def _count(study: Study, domain: str, split: Split) -> int:
    """Examples of a domain that are used."""
    asked, there = getattr(study.data, split), getattr(study.domains[domain].size, split)
    return there if asked == "all" else min(asked, there)


def _written(study: Study, count: int, prompt: int, limit: int, weights: float) -> Cost:
    """Reading that many prompts, and writing as much as may be written, in batches."""
    tokens = float(count * (prompt + limit))
    stored = 4 if study.evaluation.precision == "float32" else 2
    steps = math.ceil(tokens / study.evaluation.batch_tokens) * limit
    return Cost(0, tokens, 2 * weights * tokens, stored * weights * steps)


def main() -> None:
    """`python -m tradeoff.plan STUDY`."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--data-root", help="where the data lie, in place of the study's data_root")
    parser.add_argument("--gpu", choices=sorted(GPUS), default="H100")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the GPU's peak rates")
    a = parser.parse_args()
    if not 0 < a.utilisation <= 1:
        raise UserError(f"--utilisation {a.utilisation}: must be above 0 and at most 1")
    study = from_command_line(a.study, a.data_root)
    print("\n".join(describe(study, a.gpu, a.utilisation)))


if __name__ == "__main__":
    command(main)
