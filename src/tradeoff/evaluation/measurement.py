"""What a benchmark asks of a model, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tradeoff.domains import Domain, Example
from tradeoff.errors import UserError
from tradeoff.evaluation import CODE_LENGTH, Benchmark
from tradeoff.evaluation.lm import Question, Response
from tradeoff.evaluation.samples import Sample, written
from tradeoff.evaluation.weights import class_weights
from tradeoff.models.chat import Chat, plain
from tradeoff.models.generation import Scored
from tradeoff.provenance import canonical_json
from tradeoff.training import tokens


class Measurement(Protocol):
    """A benchmark's items, rendered for one model's chat template."""

    @property
    def prompts(self) -> list[str]:
        """What the model reads, item by item: part of the store's key."""

    @property
    def questions(self) -> list[Question]:
        """What the model answers; empty for a benchmark without generation."""

    @property
    def sequences(self) -> list[tokens.Sequence]:
        """Texts whose likelihood is measured."""

    def samples(self, responses: Sequence[Response], scored: Sequence[Scored]) -> list[Sample]:
        """Every item's outcome, from a response to each question and the likelihood of each sequence."""


@dataclass(frozen=True)
class DomainTest:
    """A domain's test split.

    Attributes:
        known: The benchmark.
        domain: Scores the answers.
        examples: The items. One without a right response, for which a teacher found none, has no code length.
        chat: How the model is talked to.
        context: Most tokens of a prompt with its response, or None.
    """

    known: Benchmark
    domain: Domain
    examples: list[Example]
    chat: Chat
    context: int | None

    @cached_property
    def prompts(self) -> list[str]:
        """See `Measurement`."""
        return [self.chat.prompt(example.messages) for example in self.examples]

    @cached_property
    def questions(self) -> list[Question]:
        """See `Measurement`. The right response is expected after its prompt, which is read once for both."""
        limit = self.domain.max_new_tokens
        return [
            Question(
                prompt, limit, expected=() if right is None or self._cut(right) else right.ids[right.prompt_length :]
            )
            for prompt, right in zip(self.prompts, self._right, strict=True)
        ]

    @cached_property
    def sequences(self) -> list[tokens.Sequence]:
        """The right responses that the context does not hold with their whole prompt."""
        return [fitted(right, self.context) for right in self._right if right is not None and self._cut(right)]

    @cached_property
    def _right(self) -> list[tokens.Sequence | None]:
        """Each item's prompt with its right response."""
        return [self.chat.encode(example) if example.response else None for example in self.examples]

    def _cut(self, right: tokens.Sequence) -> bool:
        return self.context is not None and len(right.ids) > self.context

    def samples(self, responses: Sequence[Response], scored: Sequence[Scored]) -> list[Sample]:
        """See `Measurement`."""
        outcomes = [self.domain.score(r.text, e.answer) for r, e in zip(responses, self.examples, strict=True)]
        classes = class_weights(self.domain.metrics, [example.answer for example in self.examples], outcomes)
        samples = {
            example.id: Sample(
                benchmark=self.known.name,
                task_version=self.known.version,
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
                self.examples, self.prompts, responses, outcomes, classes, strict=True
            )
        }
        of_cut = iter(scored)
        for example, right, response in zip(self.examples, self._right, responses, strict=True):
            if right is not None:
                found = next(of_cut) if self._cut(right) else response.expected
                assert found is not None, f"{example.id}: its right response has no likelihood"
                samples[example.id] = self._with_code_length(samples[example.id], example.response, right, found)
        return list(samples.values())

    def _with_code_length(self, sample: Sample, response: str, sequence: tokens.Sequence, found: Scored) -> Sample:
        return replace(
            sample,
            values={**sample.values, CODE_LENGTH: found.nll_T.double().mean().item()},
            weights={**sample.weights, CODE_LENGTH: float(len(found.nll_T))},
            token_nll=found.nll_T.tolist(),
            token_text=[self.chat.tokenizer.decode([token]) for token in sequence.ids[-sequence.targets :]],
            text_bytes=len(response.encode()),
        )


def fitted(sequence: tokens.Sequence, context: int | None) -> tokens.Sequence:
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
    return tokens.Sequence(sequence.id, sequence.ids[over:], sequence.prompt_length - over)


def rolling(chat: Chat, name: str, text: str, context: int | None) -> list[tokens.Sequence]:
    """A text that is scored whole, in parts that the model's context holds, each of its tokens once.

    The parts are lm-eval's: the first follows the begin token, or the end token where the tokenizer has none, and every
    later one sees as much of what is before it as there is room for. A begin token that the tokenizer writes by itself
    is not scored, where lm-eval scores one after another.
    """
    ids = chat.text_ids(text)
    most = len(ids) if context is None else context
    windows = get_rolling_token_windows(ids, chat.first_id, max_seq_len=max(1, most), context_len=1)
    parts = [make_disjoint_window(window) for window in windows]
    return [
        tokens.Sequence(f"{name}-{number}", (*before, *scored), len(before))
        for number, (before, scored) in enumerate(parts)
    ]
