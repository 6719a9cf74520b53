"""GSM8K, IFEval and HumanEval: an evaluation job of ours against lm-eval's command line, item by item.

The command line runs lm-eval's own tasks with its own model object on the items that our job draws. Compared are the
prompt, the response and the scores of every item. Arguments: JSON of `{"data": folder, "items": {suite: count},
"tokens": limit, "batch": size}`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common
import lm_tasks
import rows
import torch

from tradeoff import sources
from tradeoff.evaluation import BASE
from tradeoff.evaluation.tasks import gsm8k, humaneval, ifeval
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.import_base import import_base
from tradeoff.parquet import read_parquet
from tradeoff.provenance import CARD, write_json

FOLDER = common.OUTPUT / "crosscheck"
PLAIN = FOLDER / "plain"  # the same model without its chat template
AGAINST = f"lm_eval {version('lm_eval')}"
TIE = 2e-3  # of two tokens' logits: closer than that, sums in another order decide between them
IFEVAL = [f"{of}_level_{how}_acc" for of in ("prompt", "inst") for how in ("strict", "loose")]
GSM8K = ["exact_match,flexible-extract", "exact_match,strict-match"]


@dataclass(frozen=True)
class Pair:
    """A suite of ours and a task of lm-eval's.

    Attributes:
        suite: Ours.
        task: Of `lm_tasks`.
        chat: With the model's chat template.
        metrics: Ours, and what lm-eval calls them.
        prompts: Why prompts differ, where they are meant to.
    """

    suite: str
    task: str
    chat: bool
    metrics: dict[str, str]
    prompts: str = ""


def same(names: list[str]) -> dict[str, str]:
    return {name: name for name in names}


PAIRS = [
    Pair("gsm8k", "own_gsm8k_first", True, same(GSM8K)),
    Pair("gsm8k", "own_gsm8k", True, same(GSM8K), "lm-eval draws other solved examples for every item"),
    Pair("ifeval", "own_ifeval", True, same(IFEVAL)),
    Pair("humaneval", "our_humaneval", True, same(["pass@1"])),
    Pair("humaneval", "own_humaneval_instruct", True, same(["pass@1"]), "lm-eval writes the function's head for it"),
    Pair("gsm8k", "own_gsm8k_first", False, same(GSM8K)),
    Pair("humaneval", "own_humaneval", False, same(["pass@1"])),
]


def main() -> None:
    options = json.loads(sys.argv[1])
    common.model()
    files = {name: str(sources.obtain(sources.registry()[name], options["data"])) for name in lm_tasks.DATA}
    environment = lm_tasks.write(FOLDER / "lm_eval", drawn(files, options["items"]))
    made, details = [], []
    for chat in (True, False):
        base = common.MODEL if chat else without_template()
        found = ours(base, options, [p.suite for p in PAIRS if p.chat == chat])
        theirs = by_command_line(base, options, chat, files, environment)
        for pair in PAIRS:
            if pair.chat == chat:
                of_pair, items = compared(pair, base, found[pair.suite], theirs[pair.task])
                made += of_pair
                details.append({"suite": pair.suite, "task": pair.task, "chat": chat, **items})
    rows.tell(made, suites=details)


def drawn(files: dict[str, str], counts: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The items that our tasks draw, as they are in their files."""
    chosen = {
        name: module.items(counts[name], 0, files)["test"].to_list()
        for name, module in (("gsm8k", gsm8k), ("ifeval", ifeval), ("humaneval", humaneval))
    }
    raw = {row["key"]: row for row in sources.read_rows(Path(files["ifeval"]))}
    return {
        "gsm8k_test": chosen["gsm8k"],
        "gsm8k_train": sources.read_rows(Path(files["gsm8k_train"])),
        "ifeval": [raw[row["key"]] for row in chosen["ifeval"]],
        "humaneval": [{field: row[field] for field in humaneval.FIELDS} for row in chosen["humaneval"]],
    }


def without_template() -> Path:
    """A base with the model's weights and no chat template."""
    if not (PLAIN / CARD).is_file():
        source = FOLDER / "plain-source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(common.WEIGHTS, source, ignore=shutil.ignore_patterns("chat_template.jinja"))
        write_json(PLAIN / CARD, import_base(f"folder:{source}", None, PLAIN))
        shutil.rmtree(source)
    return PLAIN


def ours(base: Path, options: dict[str, Any], suites: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Samples of an evaluation job, by suite."""
    root = FOLDER / f"ours-{base.name}"
    shutil.rmtree(root, ignore_errors=True)
    general = {name: {"items": options["items"][name], "max_new_tokens": options["tokens"]} for name in suites}
    for name in lm_tasks.DATA:
        sources.fetch(sources.registry()[name], options["data"], root / "sources" / f"{name}.json")
    evaluation = {"items": 2, "allow_code_execution": True}
    study = {"data_root": options["data"], "general": general, "evaluation": evaluation}
    common.timed(common.evaluation_job("crosscheck", base, root, **study))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_parquet(root / "runs" / BASE / "samples.parquet").to_pylist():
        found.setdefault(row["benchmark"], []).append({**row, "values": dict(row["values"])})
    return found


def by_command_line(
    base: Path, options: dict[str, Any], chat: bool, files: dict[str, str], environment: dict[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """What lm-eval's command line logs of every item, by task; one row for each of its filters."""
    folder = FOLDER / "lm_eval"
    output = folder / f"output-{base.name}"
    shutil.rmtree(output, ignore_errors=True)
    tasks = [pair.task for pair in PAIRS if pair.chat == chat]
    told = json.dumps({"count": options["items"]["humaneval"], "seed": 0, "files": files, "chat": chat})
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", ",".join(tasks)]
    command += ["--model_args", f"pretrained={base / 'model'},dtype=float32", "--device", "cpu"]
    command += ["--batch_size", str(options["batch"]), "--gen_kwargs", f"max_gen_toks={options['tokens']}"]
    command += ["--include_path", str(folder / "tasks"), "--metadata", told, "--confirm_run_unsafe_code"]
    command += ["--apply_chat_template"] if chat else []
    common.timed([*command, "--log_samples", "--output_path", str(output)], folder, environment)
    found = {}
    for task in tasks:
        (log,) = output.glob(f"*/samples_{task}_2*.jsonl")
        found[task] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return found


def compared(
    pair: Pair, base: Path, our_items: list[dict[str, Any]], logged: list[dict[str, Any]]
) -> tuple[list[rows.Row], dict[str, Any]]:
    """Rows of prompts, responses and each score; and, of every item that differs, how and why."""
    by_item: dict[int, dict[str, Any]] = {}
    for row in logged:
        ending = "" if row["filter"] in ("none", "create_test") else f",{row['filter']}"
        item = by_item.setdefault(row["doc_id"], {"values": {}})
        arguments = row["arguments"]["gen_args_0"]
        item["prompt"], item["response"] = arguments["arg_0"], row["resps"][0][0]
        for metric in row["metrics"]:
            verdicts = row[metric] if isinstance(row[metric], list) else [row[metric]]
            item["values"][metric + ending] = sum(map(float, verdicts)) / len(verdicts)
    theirs = [by_item[number] for number in sorted(by_item)]
    assert len(theirs) == len(our_items)
    reasons = [why(pair, base, a, b) for a, b in zip(our_items, theirs, strict=True)]
    name = f"{pair.suite}, {'chat' if pair.chat else 'no template'}, {pair.task}"
    pairs = list(zip(our_items, theirs, reasons, strict=True))

    def row_of(what: str, differs: Callable[[dict[str, Any], dict[str, Any]], bool], step: int) -> rows.Row:
        causes = Counter(reason[step] for a, b, reason in pairs if differs(a, b))
        return rows.Row(name, AGAINST, what, len(pairs), sum(causes.values()), reasons=dict(causes))

    made = [
        row_of("prompt", lambda a, b: a["prompt"] != b["prompt"], 0),
        row_of("response", lambda a, b: a["response"] != b["response"], 1),
    ]
    scores = {}
    for metric, called in pair.metrics.items():
        made.append(row_of(metric, lambda a, b, m=metric, c=called: a["values"][m] != b["values"][c], 2))
        scores[metric] = [
            sum(item["values"][key] for item in items) / len(items)
            for items, key in ((our_items, metric), (theirs, called))
        ]
    differing = [
        {"item": a["item"], "why": reason, "ours": a["response"], "theirs": b["response"]}
        for a, b, reason in pairs
        if a["response"] != b["response"] or any(a["values"][m] != b["values"][c] for m, c in pair.metrics.items())
    ]
    return made, {"scores": scores, "items": differing}


def why(pair: Pair, base: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[str, str, str]:
    """Why an item's prompts, responses and scores may differ; each step's cause is that of the steps after it."""
    if ours["prompt"] != theirs["prompt"]:
        return (pair.prompts or rows.UNEXPLAINED,) * 3
    if ours["response"] != theirs["response"]:
        return ("", *(of_responses(base, ours["prompt"], ours["response"], theirs["response"]),) * 2)
    return "", "", rows.UNEXPLAINED


def of_responses(base: Path, prompt: str, a: str, b: str) -> str:
    """Why a model gave two responses to one prompt."""
    model, chat = loaded(base)
    ours, theirs = (chat.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (a, b))
    common_part = next((i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y), None)
    if common_part is None:
        return rows.UNEXPLAINED
    ids = [*chat.prompt_ids(prompt), *ours[:common_part]]
    with torch.no_grad():
        logits_V = model(input_ids=torch.tensor([ids])).logits[0, -1]
    best = logits_V.topk(2).values
    gap = (best[0] - best[1]).item()
    return f"two tokens within {TIE} of a logit" if gap < TIE else rows.UNEXPLAINED


@cache
def loaded(base: Path) -> tuple[Any, Any]:
    return load_base(base), load_chat(base)


if __name__ == "__main__":
    main()
