"""What a benchmark asks of a model, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tradeoff.domains import P_RIGHT, Domain, Example, p_right
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
        """See `Measurement`. Responses whose likelihood is measured are expected: their prompt is read once."""
        limit = self.domain.max_new_tokens
        return [
            Question(prompt, limit, expected=() if self._cut(after) else tuple(s.ids[s.prompt_length :] for s in after))
            for prompt, after in zip(self.prompts, self._measured, strict=True)
        ]

    @cached_property
    def sequences(self) -> list[tokens.Sequence]:
        """The responses that the context does not hold with their whole prompt."""
        return [fitted(sequence, self.context) for after in self._measured if self._cut(after) for sequence in after]

    @cached_property
    def _measured(self) -> list[list[tokens.Sequence]]:
        """Each item's prompt with its right response, and then with each other label; nothing without a response."""
        labels = self.domain.labels
        texts = [[e.response, *(label for label in labels if label != e.response)] for e in self.examples]
        return [
            [self.chat.encode(replace(e, response=text)) for text in after] if e.response else []
            for e, after in zip(self.examples, texts, strict=True)
        ]

    def _cut(self, after: Sequence[tokens.Sequence]) -> bool:
        return self.context is not None and any(len(sequence.ids) > self.context for sequence in after)

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
        for example, after, response in zip(self.examples, self._measured, responses, strict=True):
            if after:
                found = [next(of_cut) for _ in after] if self._cut(after) else response.expected
                samples[example.id] = self._with_likelihoods(samples[example.id], example.response, after[0], found)
        return list(samples.values())

    def _with_likelihoods(
        self, sample: Sample, response: str, sequence: tokens.Sequence, found: Sequence[Scored]
    ) -> Sample:
        """With the right response's code length and its probability among the labels; what is found begins with it."""
        right = found[0]
        values, weights = {CODE_LENGTH: right.nll_T.double().mean().item()}, {CODE_LENGTH: float(len(right.nll_T))}
        if self.domain.labels:
            values[P_RIGHT], weights[P_RIGHT] = p_right([scored.nll_T.double().sum().item() for scored in found]), 1.0
        return replace(
            sample,
            values={**sample.values, **values},
            weights={**sample.weights, **weights},
            token_nll=right.nll_T.tolist(),
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
