"""Evaluates one model (the base, or base + delta) on a list of benchmarks and writes every item of them.

Results are kept in a store by a key that holds all that decides them (weights, task version, items, template,
settings, precision, kind of device and code), so that one more benchmark costs that benchmark alone, and nothing else
ever answers for a model.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tradeoff import data, domains
from tradeoff.domains import Domain, Example, Outcome
from tradeoff.errors import UserError, command
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, TASKS, base_text, benchmark
from tradeoff.evaluation.lm import GreedyLM
from tradeoff.evaluation.samples import SCHEMA, Sample, table
from tradeoff.models import CARD, DTYPES, device, load_result, load_tokenizer, set_threads
from tradeoff.progress import Progress
from tradeoff.provenance import digest, read_json, sha256_file, write_whole
from tradeoff.training.base_nll import token_losses
from tradeoff.training.tokens import encode, prompt_text


@dataclass
class Evaluator:
    """Benchmarks for one model, which is loaded when the store lacks something.

    Attributes:
        base: Folder of the base model.
        run: Folder of the run, or None for the base itself.
        settings: `Study.evaluation_spec`.
        data: Folder that holds each domain's examples.
        texts: File of the base's text.
        store: Folder of kept results.
        code: Digest of each benchmark's code.
        label: Names the model in progress lines.
    """

    base: Path
    run: Path | None
    settings: dict[str, Any]
    data: Path
    texts: Path
    store: Path
    code: dict[str, str]
    label: str
    _model: PreTrainedModel | None = None
    _tokenizer: PreTrainedTokenizerBase | None = None

    def evaluate(self, names: list[str]) -> pa.Table:
        """All items of the benchmarks, in their order."""
        return pa.concat_tables([self._kept(name) for name in names])

    def _kept(self, name: str) -> pa.Table:
        path = self.store / name / f"{digest(self._decides(name))}.parquet"
        if not path.exists():
            rows = table(self._samples(name))
            write_whole(path, lambda aside: pq.write_table(rows, aside))
        return pq.read_table(path, schema=SCHEMA)

    def _decides(self, name: str) -> dict[str, Any]:
        run_card = read_json(self.run / CARD) if self.run else {}
        items = self.texts if name == BASE_TEXT else self.data / name / "test.jsonl"
        return {
            "base": read_json(self.base / CARD)["sha256"],
            "run": {key: run_card.get(key) for key in ("run_id", "delta_sha256", "source_delta_sha256")},
            "benchmark": name,
            "task_version": benchmark(name).version,
            "items": sha256_file(items) if items.exists() else None,
            "template": self.tokenizer.chat_template,
            "settings": self.settings,
            "device": device().type,
            "code": self.code[name],
        }

    def _samples(self, name: str) -> list[Sample]:
        label = f"evaluate {self.label} on {name}"
        if name == BASE_TEXT:
            texts = base_text.read(self.texts)
            pad_id = self.tokenizer.pad_token_id
            return base_text.score(self.model, texts, pad_id, self.settings["precision"], label)
        if name in domains.names():
            domain, examples = domains.get(name), data.read(self.data / name / "test.jsonl")
            task: Any = domain_task(domain, examples, self.tokenizer)
            chat = False
        else:
            domain, examples, task = None, [], name
            chat = self.tokenizer.chat_template is not None
        rows = run_task(self.model, self.tokenizer, task, self.settings, chat, label)
        found = [_sample(name, row, domain, examples) for row in rows]
        return [*map(_with_code_length, found, self._nll(examples, label))] if domain else found

    def _nll(self, examples: list[Example], label: str) -> list[Tensor]:
        """The losses of each example's right response."""
        sequences = [encode(self.tokenizer, example) for example in examples]
        pad_id, precision = self.tokenizer.pad_token_id, self.settings["precision"]
        return token_losses(self.model, sequences, pad_id, base_text.BATCH_TOKENS, precision, label)

    @property
    def model(self) -> PreTrainedModel:
        """The model, loaded once."""
        if self._model is None:
            model = load_result(self.base, self.run)
            self._model = model.to(device(), DTYPES[self.settings["precision"]]).eval()
        return self._model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded once."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.base)
        return self._tokenizer


def run_task(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: str | dict[str, Any],
    settings: dict[str, Any],
    chat: bool,
    label: str,
) -> list[dict[str, Any]]:
    """Runs one lm-eval task, by name or inline, and returns its logged samples, each with `truncated` added."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    drawn = {"count": settings["items"], "seed": settings["seed"]}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=drawn)
    try:
        ((name, loaded),) = manager.load([task])["tasks"].items()
    except ValueError as error:
        raise UserError(f"{task}: {error}; lower evaluation.items") from None
    progress = Progress(label, len(loaded.eval_docs))
    lm = GreedyLM(model, tokenizer, settings["batch_size"], progress.advance)
    results = simple_evaluate(
        lm,
        tasks=[loaded],
        batch_size=settings["batch_size"],
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        task_manager=manager,
        bootstrap_iters=0,
        log_samples=True,
        verbosity="ERROR",
    )
    assert results is not None
    rows: list[dict[str, Any]] = results["samples"][name]
    return [{**row, "truncated": (name, row["doc_id"]) in lm.truncated} for row in rows]


def domain_task(domain: Domain, examples: list[Example], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """A domain's test split as an lm-eval task; prompts are rendered as in training."""

    def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        outcome: Outcome = domain.score(results[0], examples[doc["index"]].answer)
        return {**outcome.values, "invalid": float(outcome.invalid)}

    prompts = [prompt_text(tokenizer, example.messages) for example in examples]
    metrics = [metric.name for metric in domain.metrics]
    return {
        "task": domain.name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list([{"index": i} for i in range(len(examples))])},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": lambda doc: prompts[doc["index"]],
        "doc_to_target": lambda doc: examples[doc["index"]].response,
        "process_results": process_results,
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics]
        + [{"metric": "invalid", "aggregation": "mean", "higher_is_better": False}],
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": domain.max_new_tokens},
        "metadata": {"version": domain.version},
    }


def _sample(name: str, row: dict[str, Any], domain: Domain | None, examples: list[Example]) -> Sample:
    known = benchmark(name)
    metrics = known.metrics if domain is None else tuple(m.name for m in domain.metrics)
    # A list is one item's several verdicts, such as IFEval's instructions: their mean, weighed by their number.
    verdicts = {m: row[m] if isinstance(row[m], list) else [row[m]] for m in metrics}
    weights = {m: float(len(v)) for m, v in verdicts.items()}
    if domain is not None:
        index = row["doc"]["index"]
        item = examples[index].id
        weights = {m.name: _balance(m.balanced_by, examples, index) for m in domain.metrics}
    else:
        item = f"{name}-{row['doc_id']:05}"
    return Sample(
        benchmark=name,
        task_version=known.version,
        item=item,
        prompt=row["arguments"][0][0],
        target=str(row["target"]),
        response=row["resps"][0][0],
        truncated=row["truncated"],
        invalid=bool(row.get("invalid", False)),
        filter=row["filter"],
        values={m: sum(map(float, v)) / len(v) for m, v in verdicts.items()},
        weights=weights,
    )


def _with_code_length(sample: Sample, nll: Tensor) -> Sample:
    return replace(
        sample,
        values={**sample.values, CODE_LENGTH: nll.double().mean().item()},
        weights={**sample.weights, CODE_LENGTH: float(len(nll))},
    )


def _balance(key: str | None, examples: list[Example], index: int) -> float:
    """An item's weight: 1, or what makes every value of the answer's `key` count the same."""
    if key is None:
        return 1.0
    values = [example.answer[key] for example in examples]
    return len(values) / (len(set(values)) * values.count(values[index]))


def main() -> None:
    """`python -m tradeoff.evaluation.evaluate`, see --help."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.evaluation.evaluate", description="Evaluate one model.")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="folder of a run; without it, the base")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON of Study.evaluation_spec")
    parser.add_argument("--benchmarks", required=True, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--code", type=json.loads, required=True, help="digest of each benchmark's code")
    parser.add_argument("--label", required=True)
    parser.add_argument("--output", type=Path, required=True)
    a = parser.parse_args()
    set_threads()
    evaluator = Evaluator(a.base, a.run, a.settings, a.data, a.texts, a.store, a.code, a.label)
    rows = evaluator.evaluate(a.benchmarks)
    write_whole(a.output, lambda aside: pq.write_table(rows, aside))


if __name__ == "__main__":
    command(main)
