"""Evaluates one model (the base, or base + delta) on a list of benchmarks and writes every item of them.

Results are kept in a store by a key that holds all that decides them (weights, task version, items, rendered prompts,
settings, precision, kind of device, code and packages), so that one more benchmark costs that benchmark alone, and
nothing else ever answers for a model.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedModel

from tradeoff import data, domains, machine
from tradeoff.domains import Example
from tradeoff.errors import UserError, command
from tradeoff.evaluation import BASE_TEXT, CODE_LENGTH, base_text, from_json
from tradeoff.evaluation.lm import respond
from tradeoff.evaluation.samples import SCHEMA, Prompting, Sample, table, written
from tradeoff.evaluation.task import Task
from tradeoff.evaluation.weights import class_weights
from tradeoff.models.base import load_chat, load_result, rounded
from tradeoff.models.chat import Chat, plain
from tradeoff.models.precision import device
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.progress import Progress
from tradeoff.provenance import CARD, canonical_json, digest, packages, read_json, sha256_file
from tradeoff.sources import fetched
from tradeoff.training.base_nll import token_losses
from tradeoff.training.tokens import Sequence


@dataclass
class Evaluator:
    """Benchmarks for one model, which is loaded when the store lacks something.

    Attributes:
        base: Folder of the base model.
        run: Folder of the run, or None for the base itself.
        settings: `Study.evaluation_spec`.
        benchmarks: `Study.benchmark_spec` of each benchmark, with the digest of its `code`.
        root: The study's folder, which holds domains' examples, data from outside and the store.
        label: Names the model in progress lines.
    """

    base: Path
    run: Path | None
    settings: dict[str, Any]
    benchmarks: dict[str, dict[str, Any]]
    root: Path
    label: str
    _tasks: dict[str, Task] = field(default_factory=dict)

    def evaluate(self) -> pa.Table:
        """All items of the benchmarks, in their order."""
        return pa.concat_tables([self._kept(name) for name in self.benchmarks])

    def _kept(self, name: str) -> pa.Table:
        path = self.root / "evaluations" / name / f"{digest(self._decides(name))}.parquet"
        if path.exists():
            try:
                return read_parquet(path, schema=SCHEMA)
            except UserError:
                print(f"{path}: damaged; evaluated again", flush=True)
        write_parquet(path, table(self._samples(name), self._prompting(name)))
        return read_parquet(path, schema=SCHEMA)

    def _decides(self, name: str) -> dict[str, Any]:
        """All that a benchmark's outcome depends on."""
        run_card = read_json(self.run / CARD) if self.run else {}
        # A derived run's weights are formed when they are loaded, by its method's code.
        code = run_card["code"] if "derived_from" in run_card else None
        return {
            "base": self._card["sha256"],
            "run": {key: run_card.get(key) for key in ("run_id", "delta_sha256", "source_delta_sha256")},
            "derived_by": code,
            "packages": packages(),
            "spec": self.benchmarks[name],
            "items": self._items_sha256(name),
            "chat": self.chat.identity,
            "prompts": digest(self._prompts(name)),
            "settings": self.settings,
            "device": device().type,
        }

    def _items_sha256(self, name: str) -> list[str]:
        if name == BASE_TEXT:
            return [sha256_file(self._texts)]
        if "domain" in self.benchmarks[name]:
            return [sha256_file(self._examples(name))]
        return [read_json(self._source(datum))["sha256"] for datum in self.benchmarks[name]["benchmark"]["data"]]

    def _prompts(self, name: str) -> list[str]:
        """What the model reads, item by item."""
        if name == BASE_TEXT:
            return [text.prompt for text in base_text.read(self._texts)]
        if "domain" in self.benchmarks[name]:
            return [self.chat.prompt(example.messages) for example in data.read(self._examples(name))]
        return self._task(name).prompts()

    def _prompting(self, name: str) -> Prompting:
        spec = self.benchmarks[name]
        known = self.chat.identity
        return Prompting(
            template="none" if known["template"] is None else digest(known),
            system_turn=self.chat.system_turn,
            system_prompt=None if "domain" in spec or name == BASE_TEXT else self.settings["system_prompt"],
            num_fewshot=spec["benchmark"]["num_fewshot"] or 0,
            max_new_tokens=spec["benchmark"]["max_new_tokens"],
            precision=self.settings["precision"],
            batch_size=self.settings["batch_size"],
            packages=packages(),
            device=device().type,
        )

    def _samples(self, name: str) -> list[Sample]:
        label = f"evaluate {self.label} on {name}"
        if name == BASE_TEXT:
            texts = base_text.read(self._texts)
            return base_text.score(self.model, texts, self.chat.pad_id, self.settings["precision"], label)
        if "domain" in self.benchmarks[name]:
            return self._domain_samples(name, label)
        return self._task(name).run(self.model, self._context, label)

    def _domain_samples(self, name: str, label: str) -> list[Sample]:
        spec = self.benchmarks[name]
        known, domain = from_json(spec["benchmark"]), domains.build(spec["domain"])
        examples, prompts = data.read(self._examples(name)), self._prompts(name)
        progress = Progress(label, len(examples))
        limit, size, context = domain.max_new_tokens, self.settings["batch_size"], self._context
        found = respond(self.model, self.chat, prompts, limit, size, context=context, report=progress.advance)
        outcomes = [domain.score(r.text, example.answer) for r, example in zip(found, examples, strict=True)]
        classes = class_weights(domain.metrics, [example.answer for example in examples], outcomes)
        samples = {
            example.id: Sample(
                benchmark=name,
                task_version=known.version,
                item=example.id,
                prompt=plain(prompt),
                target=example.response or canonical_json(example.answer),
                **written(response),
                invalid=outcome.invalid,
                values=dict(outcome.values),
                weights=dict.fromkeys(outcome.values, 1.0),
                class_weights=of_classes,
            )
            for example, prompt, response, outcome, of_classes in zip(
                examples, prompts, found, outcomes, classes, strict=True
            )
        }
        right = [example for example in examples if example.response]  # a teacher may have found none
        return list((samples | self._with_code_length(samples, right, label)).values())

    def _with_code_length(self, samples: dict[str, Sample], right: list[Example], label: str) -> dict[str, Sample]:
        """The samples of these examples with the code length of their responses."""
        sequences = [_fitted(self.chat.encode(example), self._context) for example in right]
        precision, decode = self.settings["precision"], self.chat.tokenizer.decode
        nll = token_losses(self.model, sequences, self.chat.pad_id, base_text.BATCH_TOKENS, precision, label)
        return {
            example.id: replace(
                samples[example.id],
                values={**samples[example.id].values, CODE_LENGTH: nll_T.double().mean().item()},
                weights={**samples[example.id].weights, CODE_LENGTH: float(len(nll_T))},
                token_nll=nll_T.tolist(),
                token_text=[decode([token]) for token in sequence.ids[-sequence.targets :]],
                text_bytes=len(example.response.encode()),
            )
            for example, sequence, nll_T in zip(right, sequences, nll, strict=True)
        }

    def _task(self, name: str) -> Task:
        """An lm-eval task with its items rendered, loaded once."""
        if name not in self._tasks:
            spec = self.benchmarks[name]
            known = from_json(spec["benchmark"])
            files = {datum: str(fetched(self._source(datum))) for datum in known.data}
            self._tasks[name] = Task(known, spec["items"], files, self.chat, self.settings)
        return self._tasks[name]

    @cached_property
    def _card(self) -> dict[str, Any]:
        card: dict[str, Any] = read_json(self.base / CARD)
        return card

    @property
    def _context(self) -> int | None:
        """Most tokens of a prompt and its answer; None where the study lets a model answer beyond its context."""
        limit: int | None = self._card["context"]
        return None if self.settings["too_long"] == "answer" and not self._card["hard_context"] else limit

    @property
    def _texts(self) -> Path:
        return self.base / f"{BASE_TEXT}.parquet"

    def _examples(self, domain: str) -> Path:
        return self.root / "data" / domain / "test.jsonl"

    def _source(self, datum: str) -> Path:
        return self.root / "sources" / f"{datum}.json"

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model, loaded once."""
        model = rounded(load_result(self.base, self.run), self.base, self.settings["precision"])
        return model.to(device()).eval()

    @cached_property
    def chat(self) -> Chat:
        """How the model is talked to."""
        return load_chat(self.base)


def _fitted(sequence: Sequence, context: int | None) -> Sequence:
    """A sequence that the model's context holds: the beginning of its prompt is left out where it does not.

    Raises:
        UserError: the response alone does not fit.
    """
    over = 0 if context is None else len(sequence.ids) - context
    if over <= 0:
        return sequence
    if over >= sequence.prompt_length:
        raise UserError(
            f"{sequence.id}: its right response has {sequence.targets} tokens and the model's context {context}; "
            "leave the item out, or choose a model with a longer context"
        )
    return Sequence(sequence.id, sequence.ids[over:], sequence.prompt_length - over)


def main() -> None:
    """`python -m tradeoff.evaluation.evaluate`, see --help."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.evaluation.evaluate", description="Evaluate one model.")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="folder of a run; without it, the base")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON of Study.evaluation_spec")
    parser.add_argument("--benchmarks", type=json.loads, required=True, help="JSON of Study.benchmark_spec and code")
    parser.add_argument("--root", type=Path, required=True, help="folder of the study")
    parser.add_argument("--label", required=True)
    parser.add_argument("--output", type=Path, required=True)
    a = parser.parse_args()
    machine.take()
    write_parquet(a.output, Evaluator(a.base, a.run, a.settings, a.benchmarks, a.root, a.label).evaluate())


if __name__ == "__main__":
    command(main)
