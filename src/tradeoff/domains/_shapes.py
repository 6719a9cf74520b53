"""The shapes in which people have conversations, read as one: turns, the response to learn, and an answer.

| shape           | columns                                                                       |
|-----------------|-------------------------------------------------------------------------------|
| `prompt`        | `prompt` and `response` or `completion`, each a text or a list of turns       |
| `messages`      | `messages` that end with the assistant's turn, or with the user's and a `response` |
| `conversations` | ShareGPT's turns of `from` (human, gpt, system) and `value`                   |
| `alpaca`        | `instruction`, `input` (may be empty) and `output`                            |

Each may have an `answer` and a `system` prompt. A turn is `role` and `content` or `from` and `value`, in either list. A
list may be spelled as JSON, as in a cell of CSV. Other columns are not used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from tradeoff.domains import Message
from tradeoff.domains._formats import json_value
from tradeoff.domains._scorers import kind_of
from tradeoff.errors import one_line, shown
from tradeoff.section import nearest

SHAPES = {
    "prompt": ("prompt", "response", "completion"),
    "messages": ("messages", "response", "completion"),
    "conversations": ("conversations",),
    "alpaca": ("instruction", "input", "output"),
}
OPTIONAL = ("answer", "system")
KNOWN = tuple(dict.fromkeys([name for names in SHAPES.values() for name in names] + [*OPTIONAL]))
ROLES = ["system", "user", "assistant"]
FROM = {"human": "user", "gpt": "assistant", **{role: role for role in ROLES}}
LIKELY, SURE = 0.7, 0.82  # of a column that is needed, and of one that may be left out: answer_id is none
TOOLS = ("tool", "function", "tool_call", "tool_response", "observation", "function_call")


class Conversation(NamedTuple):
    """What a row says.

    Attributes:
        messages: Turns that end with the user's.
        response: The assistant's turn after them.
        answer: The value that a scorer compares with, None where there is none.
        shape: In which shape it was read.
        unused: Columns that were not read.
    """

    messages: tuple[Message, ...]
    response: str
    answer: Any
    shape: str
    unused: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes:
        shape: One of `SHAPES`, or None to tell it from each row's columns.
        columns: Names of the columns that hold what is known here under another name, such as `{"prompt": "question"}`.
        prompt: Jinja template of the prompt over a row's columns, or None.
        system_prompt: System turn of each conversation that has none.
    """

    shape: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    system_prompt: str | None = None

    def conversation(self, row: Mapping[str, Any]) -> Conversation:
        """Reads a row.

        Raises:
            ValueError: it is not as it should be; the message names the column, or the turn, and the remedy.
        """
        fields, unused = self._fields(row)
        shape = self.shape or self._shape_of(fields, unused)
        messages, response, used = _SHAPE_READERS[shape](fields)
        if self.prompt is not None:
            shape = "a template"
        system = fields.text("system") if "system" in fields else self.system_prompt
        if system and messages[0]["role"] != "system":
            messages = ({"role": "system", "content": system}, *messages)
        used = {*used, *OPTIONAL}
        unused = [*unused, *(fields.named(key) for key in fields.values if key not in used)]
        if not self.columns and self.prompt is None:
            optional = [
                key for key in (*OPTIONAL, "input") if key not in fields and (key != "input" or shape == "alpaca")
            ]
            _check_spelling(unused, optional, likeness=SURE)
        return Conversation(messages, response, fields.get("answer"), shape, tuple(unused))

    def _fields(self, row: Mapping[str, Any]) -> tuple[_Fields, list[str]]:
        """A row's values under the names that are known here, and the columns that have no such name."""
        for known, name in self.columns.items():
            if name not in row:
                raise ValueError(f"has no column {shown(name)}, which columns.{known} names; {_nearest(name, row)}")
        taken = set(self.columns.values())
        values = {known: row[name] for known, name in self.columns.items()}
        left = {name: value for name, value in row.items() if name not in taken and name not in self.columns}
        values |= {name: value for name, value in left.items() if name in KNOWN}
        if self.prompt is not None:
            values = {key: value for key, value in values.items() if key not in ("messages", "conversations")}
            values["prompt"] = self._rendered(row)
        unused = [name for name in row if name not in taken and name not in values]
        return _Fields(values, self.columns, unused), unused

    def _shape_of(self, fields: _Fields, unused: list[str]) -> str:
        """The shape whose first column there is, of columns without a null if it can be."""
        if "prompt" in fields and "messages" in fields:
            raise ValueError("both 'prompt' and 'messages'; keep one, or say which with shape")
        for known in (fields, fields.values):
            if found := next((shape for shape, columns in SHAPES.items() if columns[0] in known), None):
                return found
        first = [columns[0] for columns in SHAPES.values()]
        _check_spelling(unused, first)
        if unused:
            listed = one_line(", ".join(unused), 80)
            raise ValueError(f"has no prompt, only {listed}; name its column, such as columns: {{prompt: {unused[0]}}}")
        raise ValueError("'prompt' is missing; add it, or 'messages'")

    def _rendered(self, row: Mapping[str, Any]) -> str:
        try:
            return self._template.render(row)
        except Exception as error:  # a template may raise whatever it likes
            raise ValueError(f"the template prompt cannot be filled ({one_line(error)}); correct it") from None

    @cached_property
    def _template(self) -> Template:
        return template(self.prompt or "")


def template(text: str) -> Template:
    """A prompt's template; it cannot reach anything but a row's columns.

    Raises:
        ValueError: it is no Jinja.
    """
    try:
        return SandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True, finalize=lambda value: "" if value is None else value
        ).from_string(text)
    except TemplateError as error:
        raise ValueError(f"no valid Jinja ({one_line(error)}); correct it") from None


@dataclass(frozen=True)
class _Fields:
    """A row's or a turn's values by known names; a null is as good as none.

    Attributes:
        values: By known name.
        columns: What the person calls them, where that differs.
        others: Names that are not known.
        where: Ahead of a message.
    """

    values: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()
    where: str = ""

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def named(self, key: str) -> str:
        """What the person calls it."""
        return self.columns.get(key, key)

    def text(self, key: str) -> str:
        """A text that is not empty."""
        name = f"{self.where}{self.named(key)!r}"
        if key not in self.values:
            _check_spelling(self.others, [key], self.where)
            raise ValueError(f"{name} is missing; add it")
        value = self.values[key]
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} should be text, got {kind_of(value)}; put it in quotes, or make the column text")
        if value is None or not value.strip():
            raise ValueError(f"{name} is empty; write it, or remove the row")
        check_characters(value, name)
        return value


# --- shapes ----------------------------------------------------------------------------------------------------------

_Read = tuple[tuple[Message, ...], str, set[str]]


def _from_prompt(fields: _Fields) -> _Read:
    key = _response_key(fields)
    if isinstance(fields.get("prompt"), list):
        messages = _turns(fields, "prompt")
    else:
        messages = ({"role": "user", "content": fields.text("prompt")},)
    if isinstance(fields.get(key), list):
        turns = _turns(fields, key)
        if len(turns) > 1 or turns[0]["role"] != "assistant":
            raise ValueError(
                f"{fields.named(key)!r} should be one turn of the assistant's; move the others to the prompt"
            )
        response = turns[0]["content"]
    else:
        response = fields.text(key)
    _check_order([turn["role"] for turn in messages], "user")
    return messages, response, {"prompt", key}


def _from_messages(fields: _Fields) -> _Read:
    key = _response_key(fields)
    messages = _turns(fields, "messages")
    roles = [turn["role"] for turn in messages]
    if roles[-1] != "assistant":
        _check_order(roles, "user")
        if key not in fields.values:
            raise ValueError("'response' is missing; add it, or end the messages with the assistant's turn")
        return messages, fields.text(key), {"messages", key}
    _check_order(roles, "assistant")
    if key in fields:
        raise ValueError(f"the messages end with the assistant's turn, and there is {fields.named(key)!r}; keep one")
    return messages[:-1], messages[-1]["content"], {"messages"}


def _from_conversations(fields: _Fields) -> _Read:
    messages = _turns(fields, "conversations")
    _check_order([turn["role"] for turn in messages], "assistant")
    return messages[:-1], messages[-1]["content"], {"conversations"}


def _from_alpaca(fields: _Fields) -> _Read:
    given = fields.text("input") if "input" in fields and str(fields.get("input")).strip() else None
    asked = "\n\n".join(filter(None, [fields.text("instruction"), given]))
    return ({"role": "user", "content": asked},), fields.text("output"), set(SHAPES["alpaca"])


_SHAPE_READERS = {
    "prompt": _from_prompt,
    "messages": _from_messages,
    "conversations": _from_conversations,
    "alpaca": _from_alpaca,
}


def _response_key(fields: _Fields) -> str:
    if "response" in fields and "completion" in fields:
        raise ValueError("both 'response' and 'completion'; keep one, or say which with columns")
    return "completion" if "completion" in fields else "response"


def _turns(fields: _Fields, key: str) -> tuple[Message, ...]:
    turns, name = fields.get(key), fields.named(key)
    if isinstance(turns, str):
        with suppress(ValueError, RecursionError):  # a text that is no list is told as such
            turns = json_value(turns)
    if not isinstance(turns, list) or not turns:
        what = "an empty one" if turns == [] else kind_of(turns)
        raise ValueError(f"{name!r} should be a list of turns, got {what}; list objects of 'role' and 'content'")
    return tuple(_turn(turn, f"turn {number}: ") for number, turn in enumerate(turns, start=1))


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise ValueError(f"{where}should be an object, got {kind_of(turn)}; write one of 'role' and 'content'")
    said = {key: value for key, value in turn.items() if value is not None}
    role_key, text_key, roles = ("from", "value", FROM) if "from" in said and "role" not in said else _ROLE
    if calls := next((key for key in ("tool_calls", "function_call") if said.get(key)), None):
        raise ValueError(f"{where}has {calls!r}, and calls of tools are not supported; leave such conversations out")
    values = {key: _joined(value) if key == text_key else value for key, value in said.items()}
    fields = _Fields(values, others=[key for key in said if key not in (role_key, text_key)], where=where)
    role = fields.text(role_key)
    if role in TOOLS:
        raise ValueError(
            f"{where}the role is {role}, and turns of tools are not supported; leave such conversations out"
        )
    if role not in roles:
        raise ValueError(f"{where}unknown role {shown(role)}; {nearest(role, list(roles))}")
    return {"role": roles[role], "content": fields.text(text_key)}


def _joined(content: Any) -> Any:
    """A content that is a list of texts in the form of OpenAI's parts, as one text."""
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    whole = bool(parts) and len(texts) == len(parts) and all(isinstance(text, str) for text in texts)
    return "".join(map(str, texts)) if whole else content


def _check_order(roles: list[str], last: str) -> None:
    for index, role in enumerate(roles):
        if role == "system" and index:
            raise ValueError(f"turn {index + 1}: the role is system; only the first turn's may be")
        expected = ("user", "assistant")[(index - (roles[0] == "system")) % 2]
        if role not in ("system", expected):
            raise ValueError(
                f"turn {index + 1}: the role is {role}; after a possible system turn, a user turn comes "
                "first and user and assistant alternate"
            )
    if roles[-1] != last:
        remedy = {"assistant": "make it the response", "system": "add a user turn"}.get(roles[-1], "add that turn")
        raise ValueError(f"turn {len(roles)}: the last turn is the {roles[-1]}'s and should be the {last}'s; {remedy}")


def _check_spelling(unused: Sequence[str], missing: Sequence[str], where: str = "", likeness: float = LIKELY) -> None:
    """Refuses a column that is not used and looks like one that is missing."""
    for key in missing:
        if near := difflib.get_close_matches(key, unused, 1, likeness):
            raise ValueError(f"{where}unknown key {shown(near[0])}; did you mean {key!r}?")


def _nearest(name: str, row: Mapping[str, Any]) -> str:
    return nearest(name, [one_line(column, 40) for column in row][:20])


def check_characters(value: Any, what: str) -> None:
    """JSON can spell half of a surrogate pair, which no file can hold."""
    try:
        str(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half a character ({error.object[error.start]!r}); mend the escape") from None


_ROLE = ("role", "content", {role: role for role in ROLES})
