"""Prompts and targets: the one place that renders conversations and knows what is supervised and where a turn ends.

A sequence is the prompt's tokens followed by the target's: exactly what the model reads and writes when it generates,
so that a training prompt and an evaluation prompt are the same ids. Between the prompt and the end of the turn is the
response and nothing else; a template that puts something there is refused, with the key that a study can add. Where
tokenising both at once would merge across the boundary, the target is tokenised apart and the example is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from tradeoff.domains import Example, Message
from tradeoff.errors import UserError, one_line, shown
from tradeoff.evaluation import BY_TEMPLATE, IN_USER_TURN, NO_TEMPLATE
from tradeoff.models.reasoning import MARKS, opening, separate
from tradeoff.provenance import digest
from tradeoff.section import nearest
from tradeoff.training import tokens

PROBE = "Zebra-7431"  # a text that no template holds
SAMPLE = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is water wet?"})
ANSWER, REASONED = "Yes.", "<think>\nA liquid.\n</think>\n\nYes."
# Around a special token's name in a person's text: characters that no text may hold.
LITERAL_START, LITERAL_END = "\ufdd0", "\ufdd1"
LITERAL = re.compile(f"{LITERAL_START}([^{LITERAL_START}{LITERAL_END}]*){LITERAL_END}")
DIRECTIVES = (*"aAbBcdDeFGHIjmMpSTuUVwWxXyYZ", "-d", "-m", "-I", "-H")  # of strftime
SWITCH = re.compile(r"\b\w*(?:think|reason)\w*\b", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """What a study says about prompts: `models.<name>` without its source.

    Attributes:
        template: A chat template in place of the model's own.
        arguments: Arguments of the template, such as `enable_thinking`.
        response_prefix: Text with which every response begins; part of the prompt, so it is not supervised.
        date: Day that a template prints, ISO 8601.
    """

    template: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    response_prefix: str = ""
    date: str = "2024-07-26"


def read_template(file: Path) -> str:
    """A chat template's text.

    Raises:
        UserError: it cannot be read, or is no Jinja template.
    """
    try:
        template = file.read_text(encoding="utf-8")
        _compile_jinja_template(template)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}); save the chat template as UTF-8 text") from None
    except TemplateSyntaxError as error:
        raise UserError(f"{file}, line {error.lineno}: no valid Jinja ({one_line(error)}); correct it") from None
    return template


@dataclass(frozen=True, eq=False)
class Chat:
    """A tokenizer with a study's settings.

    Attributes:
        tokenizer: Its chat template is the one in force, a study's own included, or None.
        settings: The study's.
        stops: Ids that end a response by the model's generation config.
        name: For messages: the model's name in the study, or its source.
    """

    tokenizer: PreTrainedTokenizerBase
    settings: Settings = Settings()
    stops: frozenset[int] = frozenset()
    name: str = "<name>"

    # --- prompts ----------------------------------------------------------------------------------------------------

    def prompt(self, messages: Iterable[Message]) -> str:
        """The text up to where the assistant begins; without a chat template, the turns' contents line by line.

        Special tokens' names in the messages are marked, so that `prompt_ids` reads them as text; `plain` unmarks them.
        """
        turns = self._turns(messages)
        if self._template is None:
            return "".join(f"{turn['content']}\n" for turn in turns) + self.settings.response_prefix
        return self._rendered(turns, True) + self.settings.response_prefix

    def prompt_ids(self, text: str) -> list[int]:
        """A prompt's ids with exactly one begin token where the tokenizer has one, its own or the template's."""
        ids = self._ids(self._marked(text) if self._template is None else text)
        begin = self.tokenizer("", add_special_tokens=True)["input_ids"][:1]
        if begin == [self.tokenizer.bos_token_id] and ids[:1] != begin:
            ids = [*begin, *ids]
        return ids

    def prompt_or_continued(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """As `prompt`; without a generation prompt, the last turn is the beginning of the assistant's words."""
        if add_generation_prompt:
            return self.prompt(messages)
        return self.prompt(messages[:-1]) + self._marked(messages[-1]["content"])

    def continued(self, name: str, prompt: str, text: str) -> tokens.Sequence:
        """A rendered prompt and a text after it, tokenised at once and parted after the prompt, as by lm-eval.

        White space at the prompt's end, such as the line feed of many templates, belongs to the text.

        Args:
            name: The sequence's id.
            prompt: Of `prompt_or_continued`, or without a template any text; after none, the text follows `first_id`.
            text: Of which nothing is a special token.
        """
        if not prompt:
            return tokens.Sequence(name, (self.first_id, *self.text_ids(text)), 1)
        marked = text if self._template is None else self._marked(text)
        head, whole = self.prompt_ids(prompt.rstrip()), self.prompt_ids(prompt + marked)
        return tokens.Sequence(name, (*head, *(whole[len(head) :] or self._piece(marked))), len(head))

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text that is no prompt: nothing ahead of it, and nothing of it a special token."""
        return self._ids(self._marked(text))

    @property
    def first_id(self) -> int:
        """What a text that is scored without a prompt follows: the begin token, or without one the end token."""
        begin = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if begin is None else begin)

    def encode(self, example: Example) -> tokens.Sequence:
        """Tokenises an example; the supervised tokens are the response, or each supervised turn, and one end of turn.

        Raises:
            UserError: the template puts something else between the prompt and the end of the turn; names the example
                and the key to add.
        """
        return self.encode_and_compare(example)[0]

    def encode_and_compare(self, example: Example) -> tuple[tokens.Sequence, bool]:
        """As `encode`, and whether tokenising all at once would merge across a boundary of what is supervised.

        Each supervised turn begins where the prompt up to it ends, id for id as the model reads that prompt when it
        generates; what is between two of them is masked. A template that writes no end of turn teaches one after the
        last alone.
        """
        text, merged = "", False
        ids: list[int] = []
        turns: list[tuple[int, int]] = []
        for earlier in self._turns_to_learn(example):
            prompt = self.prompt(earlier.messages)
            target = self.target(earlier, prompt)
            if not prompt.startswith(text):
                raise UserError(
                    f"models.{self.name}: example {example.id}: the chat template renders an assistant's turn "
                    "otherwise once another follows, so that only the last can be learned; write supervise: last"
                )
            head, before = self._extended(ids, text, prompt)
            text = prompt + target
            ids, after = self._extended(head, prompt, text)
            turns.append((len(head), len(ids)))
            merged = merged or before or after
        if not self._end:
            ids = [*ids, self._end_token]
        between = [place for (_, end), (start, _) in pairwise(turns) for place in range(end, start)]
        return tokens.Sequence(example.id, tuple(ids), turns[0][0], tuple(between)), merged

    def _turns_to_learn(self, example: Example) -> Iterator[Example]:
        """An example for each turn of the assistant's that is supervised, the last one in the end."""
        for place, turn in enumerate(example.messages):
            if example.all_turns and turn["role"] == "assistant":
                yield replace(example, messages=example.messages[:place], response=turn["content"])
        yield example

    def _extended(self, ids: list[int], text: str, longer: str) -> tuple[list[int], bool]:
        """The ids of a text that goes on, and whether tokenising all of it at once would merge across the end of it."""
        whole = self.prompt_ids(longer)
        merges = whole[: len(ids)] != ids
        return ([*ids, *self._piece(longer[len(text) :])] if merges else whole), merges

    def target(self, example: Example, prompt: str) -> str:
        """The text to learn after a prompt, end of turn included where the template writes one."""
        response = self._without_ends(example.response)
        if self._template is None:
            return self._marked(response)
        body = self._body(self._turns(example.messages), response, prompt)
        if body is None or self._switch_for(response) is not None:
            why = self._why_refused(example.messages, response, prompt)
            raise UserError(f"models.{self.name}: {f'example {example.id}: ' if example.id else ''}{why}")
        return body + self._end

    @property
    def pad_id(self) -> int:
        """Id of padding, whose place in a batch is told by lengths alone."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else min(self.ends))

    # --- what ends a response, and how a system turn is put ----------------------------------------------------------

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that end a response: the end of turn that training supervises, and the model's own end tokens."""
        return frozenset([*self._ids(self._end)[-1:], *self._declared_ends])

    @cached_property
    def _declared_ends(self) -> frozenset[int]:
        eos = self.tokenizer.eos_token_id
        return self.stops if eos is None else self.stops | {int(eos)}

    @cached_property
    def _stop_texts(self) -> set[str]:
        return {self.tokenizer.decode([token]) for token in self._declared_ends}

    @property
    def _end_token(self) -> int:
        """What is supervised at the end where the template writes no end of turn."""
        eos = self.tokenizer.eos_token_id
        return min(self.stops) if eos is None else int(eos)

    @cached_property
    def system_turn(self) -> str:
        """What becomes of a system turn: `BY_TEMPLATE`, `IN_USER_TURN` or `NO_TEMPLATE`."""
        if self._template is None:
            return NO_TEMPLATE
        turns = [{"role": "system", "content": PROBE}, {"role": "user", "content": "a"}]
        try:
            return BY_TEMPLATE if PROBE in self._rendered(turns, True) else IN_USER_TURN
        except UserError:
            return IN_USER_TURN

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides how a conversation is rendered, as plain JSON, the template as its digest."""
        return {
            "template": None if self.tokenizer.chat_template is None else digest(self.tokenizer.chat_template),
            "arguments": dict(self.settings.arguments),
            "response_prefix": self.settings.response_prefix,
            "date": self.settings.date,
            "system_turn": self.system_turn,
            "ends": sorted(self.ends),
        }

    def describe(self) -> dict[str, Any]:
        """A sample conversation as it is rendered, for a base's card and a preview; checks the template on the way.

        Raises:
            UserError: a response cannot be told apart, and the study makes no choice that would explain it.
        """
        prompt = self.prompt(SAMPLE)
        self._check_arguments()
        try:
            target = self.target(Example("", SAMPLE, ANSWER, {}), prompt)
        except UserError as error:
            chosen = self.settings.arguments or self.settings.template or self.settings.response_prefix
            if not chosen and self._remedy(SAMPLE, ANSWER, prompt) is not None:
                raise
            try:
                target = self.target(Example("", SAMPLE, REASONED, {}), prompt)
            except UserError:
                raise error from None
        return {
            "prompt": plain(prompt),
            "target": plain(target) + ("" if self._end else self.tokenizer.decode([self._end_token])),
            "system_turn": self.system_turn,
            "date": self.settings.date if self._template != self.tokenizer.chat_template else None,
            "ends": [self.tokenizer.decode([token]) for token in sorted(self.ends)],
        }

    def _check_arguments(self) -> None:
        """Refuses an argument that the template does not read, such as one with a letter too many."""
        if not self.settings.arguments:
            return
        if self._template is None:
            raise UserError(f"models.{self.name}.chat_template: the model has no chat template; remove the arguments")
        known = find_undeclared_variables(_compile_jinja_template(self._template).environment.parse(self._template))
        for name in self.settings.arguments:
            if name not in known:
                hint = nearest(name, sorted(known - {"messages", "add_generation_prompt"}))
                raise UserError(f"models.{self.name}.chat_template: the template reads no {shown(name)}; {hint}")

    def without_special(self, text: str) -> str:
        """A text that the model wrote, without special tokens."""
        return self._specials.sub("", text)

    # --- rendering --------------------------------------------------------------------------------------------------

    def _turns(self, messages: Iterable[Message]) -> list[Message]:
        """Messages as the template takes them: control tokens marked, a system turn folded where it has to be."""
        turns = [{**turn, "content": self._marked(turn["content"])} for turn in messages]
        if self._template is not None and self.system_turn == IN_USER_TURN and turns[0]["role"] == "system":
            system, *turns = turns
            first = next(i for i, turn in enumerate(turns) if turn["role"] == "user")
            turns[first] = {**turns[first], "content": f"{system['content']}\n\n{turns[first]['content']}"}
        return turns

    def _rendered(self, turns: Sequence[Mapping[str, Any]], generation: bool) -> str:
        given = list(turns)
        if self._wants_parts:
            given = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        return self._applied(given, generation)

    def _applied(self, turns: Sequence[Mapping[str, Any]], generation: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(turns),
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=generation,
                    **self.settings.arguments,
                )
            )
        except TemplateSyntaxError as error:
            raise UserError(
                f"models.{self.name}: the chat template, line {error.lineno}: no valid Jinja ({one_line(error)}); add "
                "chat_template: <a file> with one that is"
            ) from None
        except Exception as error:  # a template may raise whatever it likes
            raise UserError(
                f"models.{self.name}: the chat template refuses a conversation: {one_line(error)}"
            ) from None

    @cached_property
    def _template(self) -> str | None:
        """The chat template, with the study's date in place of today's."""
        template = self.tokenizer.chat_template
        if template is None or "strftime_now" not in template:
            return template
        day = date.fromisoformat(self.settings.date)
        spelled = "".join(f" | replace('%{d}', '{day.strftime(f'%{d}')}')" for d in DIRECTIVES)
        return f"{{%- macro strftime_now(format) -%}}{{{{- format{spelled} -}}}}{{%- endmacro %}}{{{{ '' }}}}{template}"

    @cached_property
    def _wants_parts(self) -> bool:
        """Whether the template reads a content as a list of parts alone, as some of multimodal models do."""
        try:
            return PROBE not in self._applied([{"role": "user", "content": PROBE}], True)
        except UserError:
            return True

    # --- targets ----------------------------------------------------------------------------------------------------

    def _body(self, turns: Sequence[Message], response: str, prompt: str) -> str | None:
        """What stands between a prompt and the end of the turn, if that is the response and nothing else."""
        parts, opened = separate(response), opening(prompt)
        said: list[dict[str, str]] = [{"content": self._marked(response, spoken=True)}]
        if parts.reasoning is not None:  # for templates that write reasoning in marks of their own
            said.append({"content": self._marked(parts.answer), "reasoning_content": self._marked(parts.reasoning)})
        for content in said:
            whole = self._rendered([*turns, {"role": "assistant", **content}], False)
            if whole.startswith(prompt) and whole.endswith(self._tail):
                body = whole[len(prompt) : len(whole) - len(self._tail)]
                if response.strip() in (plain(body).strip(), opened + plain(body).rstrip()):
                    return body
                found = separate(opened + plain(body), opened)
                same = (found.reasoning or "").strip() == parts.reasoning and found.answer.strip() == parts.answer
                if parts.reasoning and same:
                    return body
        if parts.reasoning and opened and response.lstrip().startswith(opened):
            # The prompt opens the reasoning, and the template leaves it out of past turns.
            return self._marked(response.lstrip().removeprefix(opened).lstrip(), spoken=True)
        return None

    @cached_property
    def _tail(self) -> str:
        """What the template writes after a response at the end of a conversation."""
        whole = self._rendered([{"role": "user", "content": "a"}, {"role": "assistant", "content": PROBE}], False)
        _, found, tail = whole.rpartition(PROBE)
        if not found:
            raise UserError(
                f"models.{self.name}: the chat template leaves an assistant's turn out or changes its text; add "
                "chat_template: <a file> with a template that does not"
            )
        return tail

    @cached_property
    def _end(self) -> str:
        """The part of the tail that ends the turn, which is supervised; empty where the template writes no end.

        White space and the special tokens that follow one another directly, up to the first that stops generation:
        `<|end|>` of `<|end|>\n<|endoftext|>`.
        """
        if self._template is None:
            return ""
        blank = self._tail[: len(self._tail) - len(self._tail.lstrip())]
        run = ""
        while special := next((s for s in self._special if self._tail.startswith(s, len(blank + run))), None):
            run += special
            if special in self._stop_texts:
                break
        return blank + run if run else ""

    def _without_ends(self, response: str) -> str:
        """A response without the end tokens that a person wrote after it."""
        ends = [token for token in self._special if token in self._end or token in self._stop_texts]
        while ending := next((token for token in ends if response.endswith(token)), None):
            response = response.removesuffix(ending)
        return response

    def _switch_for(self, response: str) -> str | None:
        """The argument that makes the template ask for a response of this kind, where it does not do so yet."""
        return self._lets_reason if separate(response).reasoning is not None else self._lets_answer

    @cached_property
    def _lets_answer(self) -> str | None:
        return self._switch(False, ANSWER)

    @cached_property
    def _lets_reason(self) -> str | None:
        return self._switch(True, REASONED)

    def _switch(self, value: bool, response: str) -> str | None:
        """The argument of the template that, with this value, gives another prompt, after which the response fits."""
        now = self.prompt(SAMPLE)
        for switch in dict.fromkeys(SWITCH.findall(self._template or "")):
            arguments = {**self.settings.arguments, switch: value}
            other = replace(self, settings=replace(self.settings, arguments=arguments))
            try:
                prompt = other.prompt(SAMPLE)
                if prompt != now and other._body(other._turns(SAMPLE), response, prompt) is not None:
                    return switch
            except UserError:
                continue
        return None

    def _why_refused(self, messages: Sequence[Message], response: str, prompt: str) -> str:
        """What the template does, and the key that puts it right."""
        if separate(response).reasoning is not None:
            remedy = (
                f"add chat_template: {{{self._lets_reason}: true}}" if self._lets_reason else "choose another template"
            )
            return (
                "its response reasons, and the chat template does not ask for reasoning; "
                f"{remedy}, or leave the reasoning out of the data"
            )
        return self._remedy(messages, response, prompt) or (
            f"the chat template ends a prompt with {shown(plain(prompt)[-30:])} and renders a response otherwise, so "
            "what is supervised cannot be told apart; add chat_template: <a file> with a template that renders both "
            "alike, or put the reasoning that the prompt begins into the data"
        )

    def _remedy(self, messages: Sequence[Message], response: str, prompt: str) -> str | None:
        """What the template does to a response without reasoning, and the key that changes it, if there is one."""
        if self._lets_answer:
            return (
                "the chat template asks for reasoning ahead of the response, and this one has none; add chat_template: "
                f"{{{self._lets_answer}: false}}, or {{{self._lets_answer}: true}} and the reasoning to the data"
            )
        turns = [*self._turns(messages), {"role": "assistant", "content": self._marked(response)}]
        whole = self._rendered(turns, False)
        between = plain(whole.removeprefix(prompt).removesuffix(self._tail))
        if whole.startswith(prompt) and between.endswith(response):
            between = between.removesuffix(response)
            return (
                f"the chat template puts {between!r} between prompt and response; add response_prefix: {between!r}, so "
                "that it is part of every prompt, or choose arguments of chat_template and add reasoning to the data"
            )
        return None

    # --- tokens -----------------------------------------------------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        """Ids of a text whose marked parts are read as text.

        Raises:
            UserError: the tokenizer reads a special token even so.
        """
        first, *pieces = LITERAL.split(text)
        ids: list[int] = self.tokenizer(first, add_special_tokens=False)["input_ids"]
        for number, piece in enumerate(pieces):
            ids = [*ids, *self._piece(piece, literal=number % 2 == 0)]
        return ids

    def _piece(self, text: str, literal: bool = False) -> list[int]:
        """Ids of a text that follows another: after a newline, lest a tokenizer puts a space in front."""
        if LITERAL_START in text:
            return [token for n, part in enumerate(LITERAL.split(text)) for token in self._piece(part, n % 2 == 1)]
        newline = self.tokenizer("\n", add_special_tokens=False)["input_ids"]
        options = {"add_special_tokens": False, "split_special_tokens": literal}
        ids: list[int] = self.tokenizer("\n" + text, **options)["input_ids"]
        ids = ids[len(newline) :] if ids[: len(newline)] == newline else self.tokenizer(text, **options)["input_ids"]
        if literal and self.tokenizer.convert_tokens_to_ids(text) in ids:
            raise UserError(
                f"models.{self.name}: a text holds {shown(text)}, which the tokenizer reads as a special token "
                "whatever is asked of it; remove it from the text"
            )
        return ids

    def _marked(self, text: str, spoken: bool = False) -> str:
        """A person's text with special tokens' names marked as text; in what is spoken, reasoning's marks stay."""
        text = text.replace(LITERAL_START, "").replace(LITERAL_END, "")
        kept = {mark for marks in MARKS for mark in marks} if spoken else set()
        return self._specials.sub(lambda m: m[0] if m[0] in kept else f"{LITERAL_START}{m[0]}{LITERAL_END}", text)

    @cached_property
    def _special(self) -> list[str]:
        """All special tokens; `all_special_tokens` lacks those without a role, which `<end_of_turn>` may be."""
        return sorted(set(self._special_of()), key=len, reverse=True)

    def _special_of(self) -> Iterator[str]:
        for number, token in self.tokenizer.added_tokens_decoder.items():
            if str(token).strip() and (token.special or number in self.stops):
                yield str(token)
        if self.tokenizer.eos_token is not None:
            yield str(self.tokenizer.eos_token)

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._special)) or "(?!)")


def plain(text: str) -> str:
    """A rendered text as a person reads it."""
    return text.replace(LITERAL_START, "").replace(LITERAL_END, "")
