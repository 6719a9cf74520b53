"""Greedy responses to questions, with the reasoning apart from the answer, whatever engine writes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tradeoff.models.chat import Chat
from tradeoff.models.generation import Prompt, Scored, shared_opening
from tradeoff.models.reasoning import opening, separate

WINDOW = 8  # tokens beyond a stop string's own that are looked at for it


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
        prompt: The text up to where it begins.
        limit: Most new tokens.
        until: Strings at the first of which an answer ends.
        expected: Ids of responses whose likelihood is measured too, while the prompt is at hand.
    """

    prompt: str
    limit: int
    until: tuple[str, ...] = ()
    expected: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Response:
    """What a model wrote.

    Attributes:
        text: The answer, which is what scorers read; without reasoning and special tokens.
        truncated: It ended at the generation limit.
        reasoning: What came before the answer, None where there was none.
        reasoning_tokens: Its tokens, marks included.
        answer_tokens: Tokens after it, without the end token.
        unfinished: It never left the reasoning, so that there is no answer.
        too_long: The prompt leaves no room in the model's context, so that the model was not asked.
        expected: How likely the question's expected responses are.
    """

    text: str
    truncated: bool = False
    reasoning: str | None = None
    reasoning_tokens: int = 0
    answer_tokens: int = 0
    unfinished: bool = False
    too_long: bool = False
    expected: tuple[Scored, ...] = ()


class Generate(Protocol):
    """An engine's way to continue prompts, in the order of their numbers or any other; see `generation.generate`."""

    def __call__(
        self,
        *,
        prompts: Sequence[Prompt],
        done: Callable[[int, list[int]], None],
        scored: Callable[[int, list[Scored]], None],
    ) -> object:
        """Calls `done` with each prompt's number and what was written, and before that `scored` as it is asked."""


def respond(
    generate: Generate,
    chat: Chat,
    groups: Sequence[Sequence[Question]],
    context: int | None = None,
    done: Callable[[int, list[Response]], None] = lambda group, responses: None,
    report: Callable[[], None] = lambda: None,
) -> list[list[Response]]:
    """Greedy responses to questions, in their order; a group's questions are asked from the longest down.

    Args:
        generate: The engine.
        chat: How the model is talked to.
        groups: The questions of each benchmark, whose prompts share an opening.
        context: Most tokens of a prompt and its response; a prompt that leaves no room is not asked. None for no limit.
        done: Called with a group's number once it has all its responses.
        report: Called for each question that is answered.
    """
    responses: list[list[Response]] = [[Response("", too_long=True)] * len(questions) for questions in groups]
    left = [0] * len(groups)
    asked: list[tuple[int, int]] = []  # group and place in it
    prompts: list[Prompt] = []
    for group, questions in enumerate(groups):
        encoded = [chat.prompt_ids(question.prompt) for question in questions]
        fits = [i for i, ids in enumerate(encoded) if context is None or len(ids) < context]
        shared, left[group] = shared_opening([encoded[i] for i in fits]), len(fits)
        for i in sorted(fits, key=lambda i: (-len(encoded[i]), i)):
            limit = questions[i].limit if context is None else min(questions[i].limit, context - len(encoded[i]))
            asked.append((group, i))
            prompts.append(Prompt(encoded[i], limit, shared, _stopped(chat, questions[i]), questions[i].expected))
        for _ in range(len(questions) - len(fits)):
            report()
        if not fits:
            done(group, responses[group])

    likely: dict[int, list[Scored]] = {}

    def one(number: int, ids: list[int]) -> None:
        group, i = asked[number]
        question = groups[group][i]
        response = response_of(chat, ids, opening(question.prompt), question.until)
        responses[group][i] = replace(response, expected=tuple(likely.pop(number, ())))
        left[group] -= 1
        report()
        if not left[group]:
            done(group, responses[group])

    generate(prompts=prompts, done=one, scored=likely.__setitem__)
    return responses


def response_of(chat: Chat, ids: list[int], opened: str = "", until: Collection[str] = ()) -> Response:
    """What generated ids say, up to the end token or the first of some strings; without either it was cut.

    Args:
        chat: How the model is talked to.
        ids: What it wrote.
        opened: `opening` of the prompt.
        until: Strings at the first of which the answer ends.
    """
    ended = bool(ids) and ids[-1] in chat.ends
    ids = ids[:-1] if ended else ids
    parts = separate(chat.tokenizer.decode(ids), opened)
    if parts.reasoning is None:
        text, cut = _cut(chat.tokenizer.decode(ids, skip_special_tokens=True), until)
        return Response(text, truncated=not (ended or cut), answer_tokens=len(ids))
    text, cut = _cut(chat.without_special(parts.answer), until)
    before = len(ids) if not parts.finished else _reasoning_tokens(chat, ids, opened)
    return Response(
        text,
        truncated=not (ended or cut),
        reasoning=chat.without_special(parts.reasoning),
        reasoning_tokens=before,
        answer_tokens=len(ids) - before,
        unfinished=not parts.finished,
    )


def _reasoning_tokens(chat: Chat, ids: list[int], opened: str) -> int:
    """The number of leading ids after which the reasoning is finished as it is in the end."""
    answer = separate(chat.tokenizer.decode(ids), opened).answer
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        parts = separate(chat.tokenizer.decode(ids[:middle]), opened)
        if parts.reasoning is not None and parts.finished and answer.startswith(parts.answer.strip()):
            high = middle
        else:
            low = middle + 1
    return low


def _stopped(chat: Chat, question: Question) -> Callable[[list[int]], bool]:
    """Whether an answer has come to a stop string; reasoning is not searched."""
    until, opened = question.until, opening(question.prompt)
    longest = max((len(stop.encode()) for stop in until), default=0) + WINDOW

    def stopped(ids: list[int]) -> bool:
        if not until or not _cut(chat.tokenizer.decode(ids[-longest:], skip_special_tokens=True), until)[1]:
            return False
        return _cut(response_of(chat, ids, opened).text, until)[1]

    return stopped


def _cut(text: str, until: Collection[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [text.find(stop) for stop in until if stop and stop in text]
    return (text[: min(places)], True) if places else (text, False)
