"""Every table of a made-up study, from made-up items through the project's own statistics; and its runs' cards."""

import math
import re
from dataclasses import replace
from functools import cache
from itertools import product
from zlib import crc32

import numpy as np
import pandas as pd

from tradeoff import evaluation
from tradeoff.domains import kind
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH
from tradeoff.report.results import Results
from tradeoff.study import BASE, canonical_rate
from tradeoff.tables import schemas
from tradeoff.tables.against_paper import against_paper
from tradeoff.tables.comparisons import comparisons
from tradeoff.tables.hypotheses import hypotheses
from tradeoff.tables.pareto import front, hypervolume
from tradeoff.tables.recommendation import judge, recommendation
from tradeoff.tables.replicates import replicates
from tradeoff.tables.scores import scores
from tradeoff.tables.standing import standing
from tradeoff.tables.tradeoff import tradeoff
from tradeoff.tables.trajectory import trajectory
from tradeoff.tables.views import views

NASTY = 'What is </script><b>bold</b> & "quoted" <!-- text?'
MODELS = {"qwen2.5-3b": "hub:Qwen/Qwen2.5-3B-Instruct", "qwen3-4b": "hub:Qwen/Qwen3-4B"}
METHODS = ("sft", "l2", "lora", "average", "flow", "talr")
GENERAL = ("ifeval", "gsm8k", "humaneval", BASE_TEXT)
# How far each method goes on the domain and how much it forgets, against plain SFT.
REACH = {"sft": (1.0, 1.0), "l2": (0.97, 0.8), "lora": (0.7, 0.6), "average": (0.6, 0.35), "flow": (0.95, 0.5)}
REACH |= {"talr": (0.98, 0.25)}
# Here one method is so much better that it is recommended.
BEST = ("qwen3-4b", "esci", "talr"), (2.2, -0.9)
# Of right answers, before and after the training that goes furthest.
LEVELS = {"medcalc": (0.12, 0.55), "esci": (0.30, 0.62), "ifeval": (0.62, 0.36), "gsm8k": (0.74, 0.48)}
LEVELS |= {"humaneval": (0.55, 0.42)}


@cache
def study(
    models=tuple(MODELS),
    domains=("medcalc", "esci"),
    methods=METHODS,
    rates=(1e-6, 5e-6, 2e-5),
    seeds=(0, 1),
    general=GENERAL,
    items=60,
    fractions=(0.25, 0.5),
    helps=1.0,
):
    """A study's tables and cards.

    Args:
        models, domains, methods, rates, seeds, general: The grid.
        items: Of each benchmark.
        fractions: Of the training, that have snapshots.
        helps: How far training moves the domain, 0 for not at all.
    """
    benchmarks = {name: evaluation.of_domain(name, kind(name)()) for name in domains}
    benchmarks |= {name: evaluation.general(name) for name in general}
    scored = {domain: [name for name in general if name != BASE_TEXT] for domain in domains}
    runs = [(m, None, BASE, None, None, 1.0) for m in models]
    grid = [(m, d, name, r, s) for m in models for d in domains for name in methods for r in rates for s in seeds]
    runs += [(*run, 1.0) for run in grid]
    on_the_way = [(*run, fraction) for run in grid for fraction in fractions]
    made = _items(runs, benchmarks, domains, items, helps)
    snapshots = _items(on_the_way, benchmarks, domains, items, helps)
    cards = [_card(*run) for run in grid]
    updates = {card["run_id"]: card["update"] | card["training"] | card["cost"] for card in cards}
    studied = replicates(made, benchmarks, scored, 200)
    sources = {name: MODELS.get(name, "folder:somewhere") for name in models}
    found = {
        "samples": made[schemas.SAMPLES.names],
        "scores": scores(made),
        "tradeoff": tradeoff(studied, updates),
        "comparisons": comparisons(studied),
        "pareto": front(studied),
        "hypervolume": hypervolume(studied),
        "views": views(studied, updates),
        "recommendation": recommendation(judge(studied)),
        "standing": standing(judge(studied)),
        "hypotheses": hypotheses(studied),
        "against_paper": against_paper(studied, sources, {d: d for d in domains}, {m: {"recipe": m} for m in methods}),
        "trajectory": trajectory(snapshots, made, updates, benchmarks, scored, None, 200),
    }
    content = {
        "study": "made_up",
        "models": {name: {"source": source} for name, source in sources.items()},
        "learning_rates": [canonical_rate(rate) for rate in rates],
        "seeds": list(seeds),
        "general": {name: {} for name in general},
        "trajectory": list(fractions),
        "data": {"train": 1000, "test": items, "seed": 0},
        "training": {"epochs": 1, "batch_size": 16},
        "evaluation": {"items": items, "precision": "bfloat16"},
    }
    return Results(content, found, cards, benchmarks, scored, SETTINGS)


SETTINGS = "All settings, in words."
NUMBERS_OF_RUNS = ("tradeoff", "pareto", "standing", "hypervolume", "views", "trajectory")


def copied(methods, models, domains):
    """A study of any size whose points are those of `sft` in a small one, each method's scaled by a factor."""
    of = study(models=("qwen2.5-3b",), domains=("medcalc",), methods=("sft", "talr"), rates=(1e-6, 2e-5), items=20)

    def more(table):
        parts = []
        for model, domain in product(models, domains):
            parts.append(table[table["method"] == BASE].assign(model=model, domain=domain))
            for method in methods:
                rows = table[table["method"] == "sft"].assign(model=model, domain=domain, method=method)
                kept = ("learning_rate", "fraction", "at", "bound")
                numbers = [name for name in rows.select_dtypes("float") if name not in kept]
                parts.append(rows.assign(**(rows[numbers] * (0.5 + _random(model, domain, method).random() / 2))))
        return pd.concat(parts, ignore_index=True)

    tables = {name: more(of.tables[name]) for name in NUMBERS_OF_RUNS}
    advice = of.tables["recommendation"]
    tables["recommendation"] = pd.concat([advice.assign(model=m, domain=d) for m, d in product(models, domains)])
    benchmarks = {name: of.benchmarks[name] for name in of.general}
    return replace(of, tables={**of.tables, **tables}, benchmarks=benchmarks, scored=dict.fromkeys(domains, ()))


def long_names(count):
    """Of recipes: 40 characters each."""
    return [f"a_recipe_with_a_long_name_and_options_{n:02}" for n in range(count)]


def width(drawing):
    """Of an SVG, in CSS pixels."""
    return float(re.search(r'<svg [^>]*?\bwidth="([\d.]+)"', drawing)[1])


def _items(runs, benchmarks, domains, items, helps):
    """One row an item of each run, in the columns of samples and `fraction` and `step`."""
    rows = []
    for model, domain, method, rate, seed, fraction in runs:
        for name in benchmarks:
            if name in domains and domain not in (None, name):
                continue
            own = name in domains
            rng = _random(model, name)
            hard, noise = rng.random(items), _random(model, name, method, rate, seed, fraction).random(items)
            moved = (
                0.0 if method == BASE else _moved(model, domain, method, rate, own, fraction) * (helps if own else 1.0)
            )
            rows += [
                _sample(
                    model, domain, method, rate, seed, fraction, benchmarks[name], item, hard[item], noise[item], moved
                )
                for item in range(items)
            ]
    kinds = schemas.NULLABLE | {"step": "Int32"}
    names = [*schemas.SAMPLES.names, "fraction", "step"]
    return pd.DataFrame(rows, columns=names).astype({k: v for k, v in kinds.items() if k in names})


def _sample(model, domain, method, rate, seed, fraction, benchmark, item, hard, noise, moved):
    name = benchmark.name
    if name == BASE_TEXT:
        values = {"kl": 0.0 if method == BASE else 0.4 * moved**2 * (0.5 + hard), CODE_LENGTH: 2.0 + hard}
    else:
        before, after = LEVELS[name]
        right = float(hard < before + (after - before) * moved)
        right = 1.0 - right if noise < (0.0 if method == BASE else 0.04) else right
        values = {metric: right for metric in benchmark.metrics if metric != CODE_LENGTH}
        if CODE_LENGTH in benchmark.metrics:
            values[CODE_LENGTH] = 1.6 - 0.8 * moved + 0.3 * hard
    right = next(iter(values.values())) >= 0.5
    answer = f"{7 * item + 3}"
    return {
        "run_id": model_id(model) if method == BASE else run_id(model, domain, method, rate, seed),
        "model": model,
        "revision": None,
        "domain": domain,
        "method": method,
        "recipe": method,
        "learning_rate": rate,
        "seed": seed,
        "benchmark": name,
        "task_version": benchmark.version,
        "item": f"{name}-{item:05}",
        "prompt": NASTY if item % 7 == 0 else f"Question {item} of {name}: how much is it? " + "A long case. " * 30,
        "target": answer,
        "response": f"It follows step by step.\nAnswer: {answer if right else 5 * item}",
        "truncated": item % 20 == 19,
        "invalid": False,
        "reasoning": None,
        "reasoning_tokens": 0,
        "answer_tokens": 12,
        "unfinished": False,
        "too_long": False,
        "template": "abc",
        "system_turn": "by the template",
        "system_prompt": None,
        "num_fewshot": 0,
        "max_new_tokens": benchmark.max_new_tokens,
        "engine": "transformers",
        "precision": "bfloat16",
        "batch_tokens": 16384,
        "packages": "torch 2.13.0",
        "device": "cuda",
        "values": list(values.items()),
        "weights": [(key, 1.0) for key in values],
        "class_weights": [],
        "fraction": fraction,
        "step": None if fraction == 1 else round(60 * fraction),
    }


def _moved(model, domain, method, rate, own, fraction):
    reach, forgets = BEST[1] if (model, domain, method) == BEST[0] else REACH[method]
    size = (math.log10(rate) + 7) / 3  # 1e-6 a third, 1e-4 all of the way
    return (reach * size**0.5 if own else forgets * size**1.5) * fraction**0.5


def _random(*words):
    return np.random.default_rng(crc32(repr(words).encode()))


def model_id(model):
    return f"{crc32(model.encode()):016x}"


def run_id(*run):
    return f"{crc32(repr(run).encode()):08x}{crc32(repr(run[::-1]).encode()):08x}"


def _card(model, domain, method, rate, seed):
    size = _moved(model, domain, method, rate, True, 1.0)
    return {
        "run_id": run_id(model, domain, method, rate, seed),
        "spec": {
            "model": {"source": MODELS.get(model, "folder:somewhere"), "revision": "0" * 40},
            "method": {"recipe": method},
            "learning_rate": canonical_rate(rate),
            "seed": seed,
            "data": {"domain": {"domain": domain}, "split": "train", "version": "1.0", "count": 1000},
            "training": {"epochs": 1, "batch_size": 16},
        },
        "base_sha256": "b" * 64,
        "data_sha256": "d" * 64,
        "code": "c" * 16,
        "delta_sha256": "e" * 64,
        "training": {"steps": 60, "tokens": 500_000, "supervised_tokens": 90_000, "mean_weight": 1.0},
        "update": {"delta_norm": 2.0 * size, "share_moved": 0.9, "share_kept_bfloat16": 0.3},
        "cost": {"seconds": 840.5, "flops": 3e16, "peak_memory_bytes": 4 * 10**10, "device": "made up"},
    }
