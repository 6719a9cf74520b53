"""Task files under lm-eval's evaluator: a study's settings in, every item's outcome out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from tradeoff.errors import UserError
from tradeoff.evaluation import INVALID, TASKS, Benchmark
from tradeoff.evaluation.lm import Question, Response
from tradeoff.evaluation.measurement import fitted, rolling
from tradeoff.evaluation.samples import Sample, written
from tradeoff.models.chat import Chat, plain
from tradeoff.models.generation import Scored
from tradeoff.training import tokens

FEWSHOT_SEED = 1234  # lm-eval's


@dataclass(frozen=True)
class Task:
    """An lm-eval task of ours, with a study's settings; a `Measurement`.

    Attributes:
        benchmark: Its name, few-shot examples and limit.
        items: How many; None for all.
        files: Where its data lie.
        chat: How the model is talked to.
        context: Most tokens of a prompt with its answer, or None.
        settings: `Study.evaluation_spec`.
    """

    benchmark: Benchmark
    items: int | None
    files: dict[str, str]
    chat: Chat
    context: int | None
    settings: dict[str, Any]

    @property
    def prompts(self) -> list[str]:
        """See `Measurement`; of a choice, the question and the choice; of a text that is scored whole, the text."""
        return [
            "".join(map(str, request.args[:2] if _is_scored(request) else request.args[:1])) for request in self._asked
        ]

    @cached_property
    def questions(self) -> list[Question]:
        """See `Measurement`."""
        found = []
        for request in self._asked:
            if not _is_scored(request):
                options = normalize_gen_kwargs(request.args[1])
                _check_greedy(options)
                found.append(Question(request.args[0], options["max_gen_toks"], tuple(filter(None, options["until"]))))
        return found

    @property
    def sequences(self) -> list[tokens.Sequence]:
        """See `Measurement`: each choice after its question, tokenised as lm-eval does."""
        return [sequence for parts in self._scored for sequence in parts]

    @cached_property
    def _scored(self) -> list[list[tokens.Sequence]]:
        """Of each request for a likelihood, what is scored; a text that the context does not hold is in parts."""
        found = []
        for request in self._asked:
            name = f"{self.benchmark.name}-{request.doc_id:05}"
            if request.request_type == "loglikelihood_rolling":
                found.append(rolling(self.chat, name, request.args[0], self.context))
            elif _is_scored(request):
                found.append([fitted(self.chat.continued(name, *request.args), self.context)])
        return found

    def samples(self, responses: Sequence[Response], scored: Sequence[Scored]) -> list[Sample]:
        """See `Measurement`; lm-eval's evaluator reads the outcomes."""
        outcomes = self._outcomes(responses, scored)
        rows: dict[int, list[dict[str, Any]]] = {}  # of each item, one for each filter
        for row in self._read(outcomes)[self.benchmark.name]:
            rows.setdefault(row["doc_id"], []).append(row)
        (loaded,) = self._loaded.values()
        found = []
        for item, by_filter in sorted(rows.items()):
            response = _response(by_filter[0], outcomes[self.benchmark.name, item, 0])
            sample = _sample(self.benchmark, by_filter, response)
            found.append(replace(sample, question=question(loaded, by_filter[0]["doc"])))
        return found

    def _outcomes(self, responses: Sequence[Response], scored: Sequence[Scored]) -> Outcomes:
        """What came back for each request."""
        answers, likelihoods, parts = iter(responses), iter(scored), iter(self._scored)
        found: Outcomes = {}
        for request in self._asked:
            key = (str(request.task_name), request.doc_id, request.idx)
            found[key] = _joined([next(likelihoods) for _ in next(parts)]) if _is_scored(request) else next(answers)
        return found

    def _read(self, outcomes: Outcomes) -> dict[str, list[dict[str, Any]]]:
        """lm-eval's verdicts: of each task, a row for each item and filter."""
        results = simple_evaluate(
            _Known(self.chat, outcomes),
            tasks=[*self._loaded.values()],
            samples=self._drawn or None,
            apply_chat_template=self._templated,
            fewshot_as_multiturn=self._templated,
            system_instruction=self.settings["system_prompt"],
            task_manager=self._manager,
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
            fewshot_random_seed=FEWSHOT_SEED,
            confirm_run_unsafe_code=self.benchmark.runs_code,  # which the study allowed
        )
        assert results is not None
        return dict(results["samples"])

    @cached_property
    def _asked(self) -> list[Instance]:
        """lm-eval's requests, in its order."""
        found = []
        for name, task in self._loaded.items():
            task.set_fewshot_seed(FEWSHOT_SEED)
            task.build_all_requests(
                samples=self._drawn.get(name),
                system_instruction=self.settings["system_prompt"],
                apply_chat_template=self._templated,
                fewshot_as_multiturn=self._templated,
                chat_template=self.chat.prompt_or_continued if self._templated else None,
            )
            found += task.instances
        return found

    @property
    def _templated(self) -> bool:
        return self.chat.tokenizer.chat_template is not None

    @property
    def _drawn(self) -> dict[str, list[int]]:
        """Which items of each task are asked, ascending; of a task that is not here, all: ours draw by themselves."""
        return {}

    @cached_property
    def _manager(self) -> TaskManager:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        drawn = {"count": self.items, "seed": self.settings["seed"], "files": self.files, "chat": self._templated}
        return TaskManager(include_path=str(TASKS), include_defaults=False, metadata=drawn)

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        """lm-eval's tasks by name.

        Raises:
            UserError: there are fewer items than asked for, or the data are not what they should be.
        """
        known = self.benchmark
        try:
            (loaded,) = self._manager.load([known.name])["tasks"].values()
        except ValueError as error:
            raise UserError(f"general.{known.name}: {error}") from None
        loaded.set_config("num_fewshot", known.num_fewshot or 0)
        if known.max_new_tokens is not None:
            options = {"max_gen_toks": known.max_new_tokens}
            if not self._templated and (until := loaded.config.metadata.get("until_without_chat")):
                options["until"] = until
            loaded.set_config("generation_kwargs", options, update=True)
        return {known.name: loaded}


Outcomes = dict[tuple[str, int, int], Response | Scored]  # by task, item and number of the request


class _Known(LM):
    """The model object that lm-eval's evaluator asks: it knows all outcomes already."""

    def __init__(self, chat: Chat, outcomes: Outcomes) -> None:
        super().__init__()
        self._chat, self._outcomes = chat, outcomes

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's log."""
        return self._chat.name

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt as in training."""
        return self._chat.prompt_or_continued(chat_history, add_generation_prompt)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers."""
        return [found.text for found in self._found(requests) if isinstance(found, Response)]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each choice, its log-likelihood and whether it is what the model would write."""
        return [(_log_likelihood(s), s.greedy) for s in self._found(requests) if isinstance(s, Scored)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Of each text, its log-likelihood."""
        return [_log_likelihood(s) for s in self._found(requests) if isinstance(s, Scored)]

    def _found(self, requests: list[Instance]) -> list[Response | Scored]:
        return [self._outcomes[str(request.task_name), request.doc_id, request.idx] for request in requests]


def question(loaded: Any, doc: dict[str, Any]) -> str:
    """An item's own text, of which nothing is shared by other items; of a text that is scored whole, the text."""
    if loaded.OUTPUT_TYPE == "loglikelihood_rolling":
        return str(loaded.doc_to_target(doc))
    text = loaded.doc_to_text(doc)
    return str(loaded.doc_to_choice(doc)[0] if isinstance(text, int) else text)  # a number is that of a choice


def _log_likelihood(found: Scored) -> float:
    return -found.nll_T.double().sum().item()


def _is_scored(request: Instance) -> bool:
    return request.request_type in ("loglikelihood", "loglikelihood_rolling")


def _joined(parts: list[Scored]) -> Scored:
    """The parts of a text as one."""
    return Scored(torch.cat([torch.zeros(0), *(p.nll_T for p in parts)]), all(p.greedy for p in parts))


def _check_greedy(options: dict[str, Any]) -> None:
    if options.get("do_sample"):
        raise UserError(f"generation options {options}: only greedy generation is comparable; set do_sample: false")


def _response(row: dict[str, Any], outcome: Response | Scored) -> Response:
    """What the model answered; of choices, the likeliest."""
    if isinstance(outcome, Response):
        return outcome
    likeliest = max(zip(row["arguments"], row["filtered_resps"], strict=True), key=lambda choice: choice[1][0])
    return Response(str(likeliest[0][1]).strip())


def _sample(known: Benchmark, by_filter: list[dict[str, Any]], response: Response) -> Sample:
    """An item's outcomes under all filters; the item is invalid if it is so under the benchmark's first one."""
    values, weights = {}, {}
    for row in by_filter:
        ending = "" if row["filter"] == "none" else f",{row['filter']}"
        if ending:
            row[INVALID] = row["filtered_resps"] == ["[invalid]"]
        row.setdefault(INVALID, False)  # a choice is never unreadable
        for metric in dict.fromkeys([*row["metrics"], INVALID]):
            # A list is one item's several verdicts, such as IFEval's instructions: their mean, weighed by their number.
            verdicts = row[metric] if isinstance(row[metric], list) else [row[metric]]
            values[metric + ending] = sum(map(float, verdicts)) / len(verdicts)
            weights[metric + ending] = float(len(verdicts))
    row = by_filter[0]
    _, comma, first_filter = known.metrics[0].partition(",")
    return Sample(
        benchmark=known.name,
        task_version=known.version,
        item=f"{known.name}-{row['doc_id']:05}",
        prompt=plain(row["arguments"][0][0]),
        target=str(row["target"]),
        **written(response),
        invalid=bool(values[INVALID + comma + first_filter]),
        values=values,
        weights=weights,
    )
