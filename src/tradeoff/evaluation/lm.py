"""Greedy responses to prompts, with the reasoning apart from the answer; and the model object that lm-eval drives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from tradeoff.errors import UserError
from tradeoff.models.chat import Chat
from tradeoff.models.generation import generate
from tradeoff.models.reasoning import opening, separate

WINDOW = 8  # tokens beyond a stop string's own that are looked at for it


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
    """

    text: str
    truncated: bool = False
    reasoning: str | None = None
    reasoning_tokens: int = 0
    answer_tokens: int = 0
    unfinished: bool = False
    too_long: bool = False


class GreedyLM(HFLM):
    """A causal model under lm-eval with a fixed batch size.

    Attributes:
        responses: By (task, document number), with what lm-eval does not keep.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        batch_size: int,
        context: int | None = None,
        report: Callable[[int], None] = lambda done: None,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=chat.tokenizer, batch_size=batch_size, device=str(model.device))
        self.responses: dict[tuple[str, int], Response] = {}
        self._chat, self._context, self._report = chat, context, report

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt as in training."""
        return self._chat.prompt_or_continued(chat_history, add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids as in training: one begin token at most."""
        if add_special_tokens is None and not kwargs.get("left_truncate_len"):
            return self._chat.prompt_ids(string)
        return super().tok_encode(string, add_special_tokens, **kwargs)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers, in the order of the requests."""
        groups: dict[tuple[int, tuple[str, ...]], list[Instance]] = {}
        for request in requests:
            options = request.args[1]
            _greedy_only(options)
            limit = int(options.get("max_gen_toks", self.max_gen_toks))
            groups.setdefault((limit, tuple(options.get("until") or ())), []).append(request)
        for (limit, until), chosen in groups.items():
            prompts = [request.args[0] for request in chosen]
            found = respond(self.model, self._chat, prompts, limit, self.batch_size, until, self._context, self._report)
            for request, response in zip(chosen, found, strict=True):
                self.responses[request.task_name, request.doc_id] = response
        return [self.responses[request.task_name, request.doc_id].text for request in requests]


def respond(
    model: PreTrainedModel,
    chat: Chat,
    prompts: list[str],
    limit: int,
    batch_size: int,
    until: Collection[str] = (),
    context: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> list[Response]:
    """Greedy responses to rendered prompts, in their order; batches are filled from the longest prompt down.

    Args:
        model: In evaluation mode.
        chat: How it is talked to.
        prompts: Texts up to where the model begins.
        limit: Most new tokens.
        batch_size: Prompts at once.
        until: Strings at the first of which an answer ends.
        context: Most tokens of a prompt and its response; a prompt that leaves no room is not asked. None for no limit.
        report: Called with the number of prompts of each batch that is done.
    """
    encoded = [chat.prompt_ids(prompt) for prompt in prompts]
    responses = [Response("", too_long=True)] * len(prompts)
    asked = [i for i, ids in enumerate(encoded) if context is None or len(ids) < context]
    report(len(prompts) - len(asked))
    order = sorted(asked, key=lambda i: (-len(encoded[i]), i))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        opened = [opening(prompts[i]) for i in chosen]
        limits = [limit if context is None else min(limit, context - len(encoded[i])) for i in chosen]
        stopped = _stopped(chat, opened, until)
        written = generate(model, [encoded[i] for i in chosen], limits, chat.ends, chat.pad_id, stopped=stopped)
        for i, ids, begun in zip(chosen, written, opened, strict=True):
            responses[i] = response_of(chat, ids, begun, until)
        report(len(chosen))
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


def _stopped(chat: Chat, opened: list[str], until: Collection[str]) -> Callable[[int, list[int]], bool]:
    """Whether a row's answer has come to a stop string; reasoning is not searched."""
    longest = max((len(stop.encode()) for stop in until), default=0) + WINDOW

    def stopped(row: int, ids: list[int]) -> bool:
        if not until or not _cut(chat.tokenizer.decode(ids[-longest:], skip_special_tokens=True), until)[1]:
            return False
        return _cut(response_of(chat, ids, opened[row]).text, until)[1]

    return stopped


def _greedy_only(options: dict[str, Any]) -> None:
    if options.get("do_sample") or options.get("temperature"):
        raise UserError(f"generation options {options}: only greedy generation is comparable; set do_sample: false")


def _cut(text: str, until: Collection[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [text.find(stop) for stop in until if stop and stop in text]
    return (text[: min(places)], True) if places else (text, False)
