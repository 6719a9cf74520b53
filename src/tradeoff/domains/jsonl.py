"""A domain of a person's own: two files of JSON lines and a scorer.

A line is an object with the conversation and the response to learn:

    {"prompt": "Where is my parcel?", "response": "shipping"}
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}], "response": "4"}

and, where the right answer is not the response, an `answer` that the scorer compares with:

| scorer     | a response is right when                                  | `answer`          | without it           |
|------------|-----------------------------------------------------------|-------------------|----------------------|
| `exact`    | what it says is the answer                                | text              | what `response` says |
| `number`   | the number it says is the answer, or within `tolerance`   | number            | the number it says   |
| `choice`   | the first of the `choices` that it names is the answer    | one of them       | the choice it names  |
| `contains` | the answer, or each of a list, occurs in it               | text, or a list   | what `response` says |
| `regex`    | the pattern, or each of a list, is found in it            | pattern, or list  | in training alone    |

What a response says is what follows its last `Answer:` at the start of a line, or else all of it (`_scorers.py`).
A file is read whole before anything is drawn, and each line's own response must be right by its own answer.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from tradeoff.domains import Domain, Example, Message, Metric, Outcome, Split
from tradeoff.domains._scorers import (
    CLASS_METRICS,
    Choice,
    Contains,
    Exact,
    Number,
    Regex,
    Scorer,
    kind_of,
)
from tradeoff.draws import draw
from tradeoff.errors import one_line, shown
from tradeoff.section import fail, nearest


@dataclass(frozen=True)
class Jsonl(Domain):
    """Examples from a training and a test file.

    Attributes:
        train: Path of the training file; a line whose prompt is a test item's is dropped.
        test: Path of the test file.
        scorer: How a response is scored.
        tolerance: Of the scorer number: how far off a right number may be, as a share of the answer. 0.05 is 5 %.
        choices: Of the scorer choice: all that there are.
        ignore_case: Whether upper and lower case are the same to the scorer.
        max_new_tokens: Generation limit.
    """

    kind = "jsonl"
    version = "1.3"
    train: Annotated[str, Field(min_length=1)]
    test: Annotated[str, Field(min_length=1)]
    scorer: Literal["exact", "number", "choice", "contains", "regex"] = "exact"
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    choices: tuple[str, ...] = ()
    ignore_case: bool = True
    max_new_tokens: Annotated[int, Field(ge=1)] = 256

    def __post_init__(self) -> None:
        if os.path.normpath(self.train) == os.path.normpath(self.test):
            raise fail(f"train and test are one file, {self.train}; a test item must not be trained on")
        if self.tolerance and self.scorer != "number":
            raise fail(f"tolerance: the scorer {self.scorer} has none; remove it, or let scorer be number")
        if self.scorer == "choice":
            _check_choices(self.choices, self.ignore_case)
        elif self.choices:
            raise fail(f"choices: the scorer {self.scorer} has none; remove them, or let scorer be choice")

    @property
    def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        """Choices are classes, of which a common one should not decide the score; other answers count alike."""
        return CLASS_METRICS if self.scorer == "choice" else (Metric("accuracy"),)

    def data(self, split: Split) -> tuple[str, ...]:
        """See `Domain.data`. What may be trained on depends on the test file too."""
        return (self.test,) if split == "test" else (self.train, self.test)

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. Prints what was dropped and what stands twice; an id ends with the line's number."""
        scorer = self._scorer
        name = self.test if split == "test" else self.train
        pool = read(self.test, files[self.test], "test", scorer)
        if split == "train":
            pool, dropped = apart(read(self.train, files[self.train], "train", scorer), pool)
            _tell(name, dropped, f"dropped, since the prompt is in {self.test}")
        _tell(name, repeated(pool), "kept, though the prompt stands on an earlier line")
        return draw(pool, count, f"{self.kind} {split} {seed}", name)

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`."""
        scorer = self._scorer
        found, right = scorer.judge(response, answer[scorer.key])
        values = {metric.name: float(right) for metric in self.metrics}
        return Outcome(values, invalid=found is None, label=found if self.scorer == "choice" else None)

    @property
    def _scorer(self) -> Scorer[Any]:
        match self.scorer:
            case "exact":
                return Exact(self.ignore_case)
            case "number":
                return Number(self.tolerance)
            case "choice":
                return Choice(self.choices, self.ignore_case)
            case "contains":
                return Contains(self.ignore_case)
            case "regex":
                return Regex(self.ignore_case)


def apart(train: Iterable[Example], test: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Training examples whose prompt is no test item's, and those whose prompt is, however it is spaced or composed."""
    tested = {_prompt(example) for example in test}
    kept: list[Example] = []
    dropped: list[Example] = []
    for example in train:
        (dropped if _prompt(example) in tested else kept).append(example)
    return kept, dropped


def repeated(examples: Iterable[Example]) -> list[Example]:
    """Examples whose prompt an earlier one has."""
    seen: set[tuple[str, ...]] = set()
    again = []
    for example in examples:
        if (prompt := _prompt(example)) in seen:
            again.append(example)
        seen.add(prompt)
    return again


def read(name: str, path: Path, split: Split, scorer: Scorer[Any]) -> list[Example]:
    """The lines of a file, empty ones left out.

    Raises:
        ValueError: a line is not as it should be; the message tells the first and how many more there are.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise ValueError(f"{name}: cannot be read ({error.strerror}); name a file of JSON lines") from None
    examples, faults = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                examples.append(_example(f"{split}-{number:05d}", line, split, scorer))
            except ValueError as error:
                faults.append(f"{name}, line {number}: {one_line(error, 500)}")
    if faults:
        more = len(faults) - 1
        raise ValueError(faults[0] + (f" ({more} more faulty {'lines' if more > 1 else 'line'})" if more else ""))
    if not examples:
        raise ValueError(f'{name}: is empty; write a line such as {{"prompt": "2 + 2?", "response": "4"}}')
    return examples


def _example(name: str, line: bytes, split: Split, scorer: Scorer[Any]) -> Example:
    fields = _object(line)
    _known(fields, ["messages", "prompt", "response", "answer"])
    messages = _messages(fields)
    response = _text(fields, "response")
    wanted = _wanted(fields, response, split, scorer)
    return Example(name, messages, response, {scorer.key: wanted})


def _object(line: bytes) -> dict[str, Any]:
    """A line's JSON object, with numbers as decimals.

    Stricter than Python's `json`, which takes NaN and the last of two equal keys.
    """
    try:
        value = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_int=_number,
            parse_float=_number,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, character {error.pos + 1}); write one object on one line") from None
    except RecursionError:
        raise ValueError("not JSON that can be read (nested too deep); write one flat object on one line") from None
    if not isinstance(value, dict):
        raise ValueError(f"should be an object, got {kind_of(value)}; write one object on one line")
    return value


def _messages(fields: dict[str, Any]) -> tuple[Message, ...]:
    if "prompt" in fields and "messages" in fields:
        raise ValueError("both 'prompt' and 'messages'; keep one")
    if "messages" not in fields:
        if "prompt" not in fields:
            raise ValueError("'prompt' is missing; add it, or 'messages'")
        return ({"role": "user", "content": _text(fields, "prompt")},)
    turns = fields["messages"]
    if not isinstance(turns, list) or not turns:
        what = "an empty one" if turns == [] else kind_of(turns)
        raise ValueError(f"'messages' should be a list of turns, got {what}; list objects of 'role' and 'content'")
    messages = tuple(_turn(turn, f"turn {number}: ") for number, turn in enumerate(turns, start=1))
    _check_order([message["role"] for message in messages])
    return messages


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise ValueError(f"{where}should be an object, got {kind_of(turn)}; write one of 'role' and 'content'")
    _known(turn, ["role", "content"], where)
    role = _text(turn, "role", where)
    if role not in _ROLES:
        raise ValueError(f"{where}unknown role {shown(role)}; {nearest(role, _ROLES)}")
    return {"role": role, "content": _text(turn, "content", where)}


def _check_order(roles: list[str]) -> None:
    for index, role in enumerate(roles):
        if role == "system" and index:
            raise ValueError(f"turn {index + 1}: the role is system; only the first turn's may be")
        expected = ("user", "assistant")[(index - (roles[0] == "system")) % 2]
        if role not in ("system", expected):
            raise ValueError(
                f"turn {index + 1}: the role is {role}; after a possible system turn, a user turn comes "
                "first and user and assistant alternate"
            )
    if roles[-1] != "user":
        remedy = "move it to 'response'" if roles[-1] == "assistant" else "add a user turn"
        raise ValueError(f"turn {len(roles)}: the last turn is the {roles[-1]}'s and should be the user's; {remedy}")


def _wanted(fields: dict[str, Any], response: str, split: Split, scorer: Scorer[Any]) -> Any:
    """The answer to compare with, which the line's own response must give."""
    if "answer" in fields:
        for text in fields["answer"] if isinstance(fields["answer"], list) else [fields["answer"]]:
            _check_characters(text, "'answer'")
        wanted = scorer.wanted(fields["answer"])
    else:
        wanted = scorer.default(response)
        if wanted == []:
            if split == "train":
                return wanted
            raise ValueError("'answer' is missing; add the pattern that a right response has")
    found, right = scorer.judge(response, wanted) if wanted is not None else (None, False)
    if found is None:
        raise ValueError("no answer can be read from 'response', so none could from a model's; mend it or the scorer")
    if not right:
        shown = " and ".join(wanted) if isinstance(wanted, list) else wanted
        raise ValueError(
            f"'response' itself is wrong by its 'answer': it says {one_line(found, 60)!r}, and "
            f"{one_line(shown, 60)!r} is wanted; mend one, or choose another scorer"
        )
    return wanted


def _known(fields: dict[str, Any], keys: list[str], where: str = "") -> None:
    for key in fields:
        if key not in keys:
            raise ValueError(f"{where}unknown key {shown(key)}; {nearest(key, keys)}")


def _text(fields: dict[str, Any], key: str, where: str = "") -> str:
    if key not in fields:
        raise ValueError(f"{where}{key!r} is missing; add it")
    value = fields[key]
    if not isinstance(value, str):
        raise ValueError(f"{where}{key!r} should be text, got {kind_of(value)}; put it in quotes")
    if not value.strip():
        raise ValueError(f"{where}{key!r} is empty; write it, or remove the line")
    _check_characters(value, f"{where}{key!r}")
    return value


def _check_characters(value: Any, what: str) -> None:
    """JSON can spell half of a surrogate pair, which no file can hold."""
    try:
        str(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half a character ({error.object[error.start]!r}); mend the escape") from None


def _check_choices(choices: tuple[str, ...], ignore_case: bool) -> None:
    if len(choices) < 2:
        raise fail("choices: the scorer choice chooses from at least two; list them")
    for index, choice in enumerate(choices):
        if not choice.strip() or choice != choice.strip():
            raise fail(f"choices: {shown(choice)} is empty or has white space around it; write a word")
        read_as = Choice(choices, ignore_case).default(choice)
        if choice in choices[:index] or read_as != choice:
            why = "is listed twice" if read_as == choice else f"in a response would be read as {read_as!r}"
            raise fail(f"choices: {shown(choice)} {why}; reword it")


def _tell(name: str, examples: list[Example], what: str) -> None:
    """A line for the log about lines of a file."""
    if examples:
        numbers = [str(int(example.id.rpartition("-")[2])) for example in examples]
        listed = ", ".join(numbers[:_LISTED]) + (", ..." if len(numbers) > _LISTED else "")
        print(f"{name}: {len(numbers)} of its lines {what}: {listed}")


def _prompt(example: Example) -> tuple[str, ...]:
    texts = (unicodedata.normalize("NFC", " ".join(message["content"].split())) for message in example.messages)
    return tuple(f"{message['role']}: {text}" for message, text in zip(example.messages, texts, strict=True))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} stands twice; remove one")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; write a number, or text in quotes")


def _number(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ValueError(f"the number {one_line(digits, 40)} is too large; write a smaller one") from None


_ROLES = ["system", "user", "assistant"]
_LISTED = 10
