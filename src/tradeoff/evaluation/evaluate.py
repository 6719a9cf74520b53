"""Evaluates models of one base (itself, and results on top of it) on a list of benchmarks and writes every item.

The base is loaded once and becomes one model after another. Results are kept in a store by a key that holds all that
decides them (weights, task version, items, rendered prompts, settings, precision, kind of device, code and packages),
so that one more benchmark costs only that benchmark, and nothing else ever answers for a model. A benchmark of a model
is stored as soon as it has its answers: a job that is killed goes on from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from tradeoff import data, domains, machine
from tradeoff.errors import UserError, command
from tradeoff.evaluation import BASE, BASE_TEXT, base_text, from_json
from tradeoff.evaluation.harness.task import HarnessTask
from tradeoff.evaluation.lm import Response, respond
from tradeoff.evaluation.measurement import DomainTest, Measurement
from tradeoff.evaluation.samples import SCHEMA, Prompting, table
from tradeoff.evaluation.task import Task
from tradeoff.models.base import load_chat
from tradeoff.models.chat import Chat
from tradeoff.models.generation import score
from tradeoff.models.precision import device
from tradeoff.models.resident import Resident
from tradeoff.parquet import read_parquet, write_parquet
from tradeoff.progress import Progress
from tradeoff.provenance import CARD, digest, packages, read_json, sha256_file
from tradeoff.sources import fetched


@dataclass
class Evaluator:
    """Benchmarks for models of one base, which is loaded when the store lacks something.

    Attributes:
        base: Folder of the base model.
        settings: `Study.evaluation_spec`.
        benchmarks: `Study.benchmark_spec` of each benchmark, with the digest of its `code`.
        root: The study's folder, which holds domains' examples, data from outside and the store.
    """

    base: Path
    settings: dict[str, Any]
    benchmarks: dict[str, dict[str, Any]]
    root: Path
    _measurements: dict[str, Measurement] = field(default_factory=dict)
    _decided: dict[str, dict[str, Any]] = field(default_factory=dict)

    def evaluate(self, run: Path | None, label: str) -> pa.Table:
        """All items of the benchmarks, in their order.

        Args:
            run: Folder of a run, or None for the base itself.
            label: Names the model in progress lines.
        """
        paths = {name: self._path(name, run) for name in self.benchmarks}
        kept = {name: _kept(path) for name, path in paths.items()}
        missing = {name: paths[name] for name, found in kept.items() if found is None}
        if missing:
            self._measure(run, label, missing)
            kept |= {name: read_parquet(path, schema=SCHEMA) for name, path in missing.items()}
        return pa.concat_tables(kept.values())

    def _measure(self, run: Path | None, label: str, paths: dict[str, Path]) -> None:
        """Fills the store: benchmarks without generation first, then the others in the order of their answers."""
        model, chat, tokens = self._resident.become(run), self.chat, self.settings["batch_tokens"]
        asked = {name: self._measurement(name) for name in paths}
        progress = Progress(f"evaluate {label}", sum(len(m.questions) + len(m.sequences) for m in asked.values()))
        scored = {
            name: score(model, measurement.sequences, chat.pad_id, tokens, progress.advance)
            for name, measurement in asked.items()
        }

        def keep(name: str, responses: Sequence[Response]) -> None:
            write_parquet(paths[name], table(asked[name].samples(responses, scored[name]), self._prompting(name)))

        for name in [name for name, measurement in asked.items() if not measurement.questions]:
            keep(name, [])
        answered = [name for name, measurement in asked.items() if measurement.questions]
        respond(
            self._resident.generate,
            chat,
            [asked[name].questions for name in answered],
            self._context,
            lambda group, responses: keep(answered[group], responses),
            progress.advance,
        )

    def _path(self, name: str, run: Path | None) -> Path:
        return self.root / "evaluations" / name / f"{digest(self._decides(name, run))}.parquet"

    def _decides(self, name: str, run: Path | None) -> dict[str, Any]:
        """All that a benchmark's outcome depends on."""
        run_card = read_json(run / CARD) if run else {}
        # A derived run's weights are formed when they are loaded, by its method's code.
        code = run_card["code"] if "derived_from" in run_card else None
        return {
            "base": self._card["sha256"],
            "run": {key: run_card.get(key) for key in ("run_id", "delta_sha256", "source_delta_sha256")},
            "derived_by": code,
            **self._decides_for_all(name),
        }

    def _decides_for_all(self, name: str) -> dict[str, Any]:
        """The same for every model of the base."""
        if name not in self._decided:
            self._decided[name] = {
                "packages": packages(),
                "spec": self.benchmarks[name],
                "items": self._items_sha256(name),
                "chat": self.chat.identity,
                "prompts": digest(self._measurement(name).prompts),
                "settings": self.settings,
                "device": device().type,
            }
        return self._decided[name]

    def _items_sha256(self, name: str) -> list[str]:
        if name == BASE_TEXT:
            return [sha256_file(self._texts)]
        if "domain" in self.benchmarks[name]:
            return [sha256_file(self._examples(name))]
        if self.benchmarks[name]["benchmark"]["lm_eval"]:
            return [read_json(self._fetched(name))["sha256"]]
        return [read_json(self._source(datum))["sha256"] for datum in self.benchmarks[name]["benchmark"]["data"]]

    def _prompting(self, name: str) -> Prompting:
        spec = self.benchmarks[name]
        known, shots = self.chat.identity, spec["benchmark"]["num_fewshot"]
        return Prompting(
            template="none" if known["template"] is None else digest(known),
            system_turn=self.chat.system_turn,
            system_prompt=None if "domain" in spec or name == BASE_TEXT else self.settings["system_prompt"],
            num_fewshot=shots if spec["benchmark"]["lm_eval"] else shots or 0,
            max_new_tokens=spec["benchmark"]["max_new_tokens"],
            engine=self.settings["engine"],
            precision=self.settings["precision"],
            batch_tokens=self.settings["batch_tokens"],
            packages=packages(),
            device=device().type,
        )

    def _measurement(self, name: str) -> Measurement:
        """A benchmark with its items rendered, once for all models."""
        if name not in self._measurements:
            self._measurements[name] = self._rendered(name)
        return self._measurements[name]

    def _rendered(self, name: str) -> Measurement:
        spec = self.benchmarks[name]
        known = from_json(spec["benchmark"])
        if name == BASE_TEXT:
            return base_text.BaseText(base_text.read(self._texts))
        if "domain" in spec:
            examples = data.read(self._examples(name))
            return DomainTest(known, domains.build(spec["domain"]), examples, self.chat, self._context)
        if known.lm_eval is not None:
            return HarnessTask(known, spec["items"], {}, self.chat, self._context, self.settings, self._fetched(name))
        files = {datum: str(fetched(self._source(datum))) for datum in known.data}
        return Task(known, spec["items"], files, self.chat, self._context, self.settings)

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

    def _fetched(self, benchmark: str) -> Path:
        return self.root / "benchmarks" / f"{benchmark}.json"

    @cached_property
    def _resident(self) -> Resident:
        engine = Resident
        if self.settings["engine"] == "vllm":
            from tradeoff.models.on_vllm import OnVLLM

            engine = OnVLLM
        return engine(self.base, self.settings["precision"], self.chat, self.settings["batch_tokens"])

    @cached_property
    def chat(self) -> Chat:
        """How the models are talked to."""
        return load_chat(self.base)


def _kept(path: Path) -> pa.Table | None:
    """What the store holds under a path, or None."""
    if not path.exists():
        return None
    try:
        return read_parquet(path, schema=SCHEMA)
    except UserError:
        print(f"{path}: damaged; evaluated again", flush=True)
        return None


def main() -> None:
    """`python -m tradeoff.evaluation.evaluate`, see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.evaluation.evaluate", description="Evaluate models of one base."
    )
    parser.add_argument(
        "samples", type=Path, nargs="+", help=f"files to write, in a run's folder, or in one named {BASE}"
    )
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON of Study.evaluation_spec")
    parser.add_argument("--benchmarks", type=json.loads, required=True, help="JSON of Study.benchmark_spec and code")
    parser.add_argument("--root", type=Path, required=True, help="folder of the study")
    a = parser.parse_args()
    machine.take()
    evaluator = Evaluator(a.base, a.settings, a.benchmarks, a.root)
    for file in a.samples:
        run = None if file.parent.name == BASE else file.parent
        write_parquet(file, evaluator.evaluate(run, str(file.parent.relative_to(a.root / "runs"))))


if __name__ == "__main__":
    command(main)
