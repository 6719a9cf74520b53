"""A domain of a person's own: files of conversations, and a scorer.

A file is JSON lines, JSON, CSV, TSV or Parquet (`_formats.py`), or a folder of them. A row holds a conversation in one
of the shapes that people have (`_shapes.py`), and the response to learn:

    {"prompt": "Where is my parcel?", "response": "shipping"}
    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}

and, where the right answer is not the response, an `answer` that the scorer compares with:

| scorer     | a response is right when                                  | `answer`          | without it           |
|------------|-----------------------------------------------------------|-------------------|----------------------|
| `exact`    | what it says is the answer                                | text              | what `response` says |
| `number`   | the number it says is the answer, or within `tolerance`   | number            | the number it says   |
| `choice`   | the first of the `choices` that it names is the answer    | one of them       | the choice it names  |
| `contains` | the answer, or each of a list, occurs in it               | text, or a list   | what `response` says |
| `regex`    | the pattern, or each of a list, is found in it            | pattern, or list  | in training alone    |
| `json`     | share of the fields of its JSON that are the answer's     | object or list    | the JSON it is       |
| `code`     | its function passes the answer's assertions               | source, or list   | in training alone    |

`f1`, `rouge_l` and `chrf` say how much a response has in common with the answer, or the best of a list (`_overlap.py`);
`json_valid` asks for JSON alone (`_json.py`); `my_scorers.py:score` is a function of one's own (`_programs.py`).

What a response says is what follows its last `Answer:` at the start of a line, or else all of it (`_scorers.py`).
A file is read whole before anything is drawn, and each row's own response must be right by its own answer.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from tradeoff.domains import Domain, Example, Metric, Outcome, Split, _formats
from tradeoff.domains._json import JsonFields, JsonValid
from tradeoff.domains._overlap import ChrF, RougeL, TokenF1
from tradeoff.domains._programs import Code, Own, file_of
from tradeoff.domains._scorers import Choice, Contains, Exact, Number, Regex, Scorer, Verdict
from tradeoff.domains._shapes import KNOWN, Conversation, Reading, check_characters, template
from tradeoff.domains._splits import apart, held_out, near, repeated
from tradeoff.draws import draw
from tradeoff.errors import UserError, one_line, shown
from tradeoff.section import fail, nearest

NO_PATTERN = "'answer' is missing; add what a right response has or passes"
SCORERS = (
    "exact",
    "number",
    "choice",
    "contains",
    "regex",
    "f1",
    "rouge_l",
    "chrf",
    "json",
    "json_valid",
    "code",
)
OWN = r"[^:]+\.py:[A-Za-z_]\w*"  # a function of one's own
Place = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Custom(Domain):
    """Examples from training and test files.

    Attributes:
        train: Path of the training file, or of a folder of such files; a row whose prompt is a test item's is dropped.
        test: Path of the test file or folder, or how much of the training file is held out: a share, or a number of
            prompts.
        shape: In which shape a row holds a conversation; None tells it from each row's columns.
        columns: The data's own names of what is known by another, such as `{prompt: question, response: gold}`.
        prompt: Jinja template of the prompt over a row's columns.
        system_prompt: System turn of every conversation that has none.
        supervise: Which of the assistant's turns are learned in training; a test item is always about the last.
        scorer: How a response is scored.
        tolerance: Of the scorer number: how far off a right number may be, as a share of the answer. 0.05 is 5 %.
        choices: Of the scorer choice: all that there are.
        ignore_case: Whether upper and lower case are the same to the scorer.
        max_new_tokens: Generation limit.
    """

    kind = "custom"
    version = "2.0"
    train: Place
    test: Place | Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
    shape: Literal["prompt", "messages", "conversations", "alpaca"] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    prompt: Place | None = None
    system_prompt: Place | None = None
    supervise: Literal["last", "all"] = "last"
    scorer: Annotated[str, WithJsonSchema({"anyOf": [{"enum": list(SCORERS)}, {"pattern": OWN}]})] = "exact"
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    choices: tuple[str, ...] = ()
    ignore_case: bool = True
    max_new_tokens: Annotated[int, Field(ge=1)] = 256

    def __post_init__(self) -> None:
        if isinstance(self.test, str) and os.path.normpath(self.train) == os.path.normpath(self.test):
            raise fail(
                f"train and test are one file, {self.train}; a test item must not be trained on: "
                "name another, or hold out a share of it with test: 0.2"
            )
        self._check_reading()
        if self.scorer not in SCORERS and not re.fullmatch(OWN, self.scorer):
            raise fail(
                f"scorer: unknown scorer {shown(self.scorer)}; {nearest(self.scorer, list(SCORERS))}, or name a "
                "function of your own such as my_scorers.py:score"
            )
        if self.tolerance and self.scorer != "number":
            raise fail(f"tolerance: the scorer {self.scorer} has none; remove it, or let scorer be number")
        if self.scorer == "choice":
            _check_choices(self.choices, self.ignore_case)
        elif self.choices:
            raise fail(f"choices: the scorer {self.scorer} has none; remove them, or let scorer be choice")

    def _check_reading(self) -> None:
        for known in self.columns:
            if known not in KNOWN:
                raise fail(f"columns: {shown(known)} is nothing that is read; {nearest(known, list(KNOWN))}")
        if self.prompt is not None:
            if "prompt" in self.columns or self.shape not in (None, "prompt"):
                raise fail("prompt: a template makes the prompt; leave out columns.prompt and shape")
            try:
                template(self.prompt)
            except ValueError as error:
                raise fail(f"prompt: {error}") from None

    @property
    def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        """Choices are classes, of which a common one should not decide the score; other answers count alike."""
        return self._scorer.metrics

    @property
    def runs_code(self) -> bool:  # type: ignore[override]
        """See `Domain`."""
        return self.scorer == "code"

    def scored_by(self) -> tuple[str, ...]:
        """See `Domain.scored_by`."""
        return () if self.scorer in SCORERS else (file_of(self.scorer),)

    def data(self, split: Split) -> tuple[str, ...]:
        """See `Domain.data`. What may be trained on depends on the test files too; a folder is all of its files."""
        train = _formats.files_of(self.train)
        if not isinstance(self.test, str):
            return train
        test = _formats.files_of(self.test)
        return test if split == "test" else (*train, *test)

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. Prints how the rows were read, what was dropped and what stands twice."""
        name = self.test if split == "test" and isinstance(self.test, str) else self.train
        if isinstance(self.test, str):
            pool = test = self._read(self.test, "test", files, told=split == "test")
            if split == "train":
                pool, dropped = apart(self._read(self.train, "train", files), test)
                _tell(name, dropped, f"dropped, since the prompt is in {self.test}")
        else:
            pool, test = held_out(self._read(self.train, "train", files), self.test)
            print(f"{name}: {len(test)} of its rows are held out for testing, {len(pool)} stay for training")
            if split == "test":
                pool = [self._as_test(example) for example in test]
        if split == "train":
            _tell(name, near(pool, test), "kept, though the prompt is nearly a test item's; look at them")
        _tell(name, repeated(pool), "kept, though the prompt stands in an earlier row")
        if split == "train" and self.supervise == "all":
            pool = [replace(example, all_turns=True) for example in pool]
        drawn = draw(pool, count, f"{self.kind} {split} {seed}", name)
        if split == "test" and self._scorer.slow:
            self._check(drawn, name)
        return drawn

    def _check(self, drawn: list[Example], name: str) -> None:
        """Checks responses by their answers, where that takes long."""
        for example in drawn:
            try:
                _check_own(example.response, example.answer[self._scorer.key], self._scorer)
            except UserError:
                raise
            except ValueError as error:
                raise ValueError(f"{name}, row {_row(example)}: {error}") from None

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`."""
        scorer = self._scorer
        found, right, others = scorer.judge(response, answer[scorer.key])
        first, *more = (metric.name for metric in scorer.metrics)
        values = {first: float(right), **dict(zip(more, others or [float(right)] * len(more), strict=True))}
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
            case "f1":
                return TokenF1(self.ignore_case)
            case "rouge_l":
                return RougeL(self.ignore_case)
            case "chrf":
                return ChrF(self.ignore_case)
            case "json":
                return JsonFields(self.ignore_case)
            case "json_valid":
                return JsonValid()
            case "code":
                return Code()
            case own:
                return Own(own)

    def _as_test(self, example: Example) -> Example:
        """A row of the training file that is held out."""
        if example.answer[self._scorer.key] == []:
            raise ValueError(f"{self.train}, row {_row(example)}: {NO_PATTERN}")
        return replace(example, id=f"test-{example.id.partition('-')[2]}")

    def _read(self, place: str, split: Split, files: Mapping[str, Path], told: bool = True) -> list[Example]:
        """The examples of a file, or of a folder's files; an id ends with the row's number."""
        reading = Reading(self.shape, self.columns, self.prompt, self.system_prompt)
        found = []
        for name in files:
            if name == place:
                found += read(name, files[name], split, split, self._scorer, reading, told)
            elif PurePath(place) in PurePath(name).parents:
                prefix = f"{split}-{PurePath(name).name}"
                found += read(name, files[name], prefix, split, self._scorer, reading, told)
        return found


def read(
    name: str,
    path: Path,
    prefix: str,
    split: Split,
    scorer: Scorer[Any],
    reading: Reading | None = None,
    told: bool = False,
) -> list[Example]:
    """The examples of a file.

    Args:
        name: Of the file, for messages.
        path: Where it lies.
        prefix: With which ids begin; the row's number follows.
        split: What they are for.
        scorer: Takes the answers.
        reading: How rows are read.
        told: Print how the rows were read.

    Raises:
        ValueError: a row is not as it should be; the message tells the first and how many more there are.
    """
    reading = reading or Reading()
    examples, faults, seen = [], [], []
    for row in _formats.read(name, path):
        try:
            if isinstance(row.values, ValueError):
                raise row.values
            seen.append(said := reading.conversation(row.values))
            answer = {scorer.key: _wanted(said, split, scorer)}
            examples.append(Example(f"{prefix}-{row.number:05d}", said.messages, said.response, answer))
        except ValueError as error:
            faults.append((row.place, one_line(error, 500)))
    if faults:
        (place, fault), more = faults[0], len(faults) - 1
        rows = f"{place.split()[0]}{'s' if more > 1 else ''}"
        raise ValueError(f"{name}, {place}: {fault}" + (f" ({more} more faulty {rows})" if more else ""))
    if told:
        print(f"{name}: {_described(seen)}")
    return examples


def _wanted(said: Conversation, split: Split, scorer: Scorer[Any]) -> Any:
    """The answer to compare with, which the row's own response must give."""
    if said.answer is not None:
        for text in said.answer if isinstance(said.answer, list) else [said.answer]:
            check_characters(text, "'answer'")
        wanted = scorer.wanted(said.answer)
    else:
        wanted = scorer.default(said.response)
        if wanted == []:
            if split == "train":
                return wanted
            raise ValueError(NO_PATTERN)
    if not scorer.slow:
        _check_own(said.response, wanted, scorer)
    return wanted


def _check_own(response: str, wanted: Any, scorer: Scorer[Any]) -> None:
    """Refuses a response that is wrong by its own answer."""
    found, right, _ = scorer.judge(response, wanted) if wanted is not None else Verdict(None, 0.0)
    if found is None:
        raise ValueError("no answer can be read from 'response', so none could from a model's; mend it or the scorer")
    if right < scorer.least:
        shown = " and ".join(wanted) if isinstance(wanted, list) else wanted
        raise ValueError(
            f"'response' itself is wrong by its 'answer': it says {one_line(found, 60)!r}, and "
            f"{one_line(shown, 60)!r} is wanted; mend one, or choose another scorer"
        )


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


def _described(seen: Sequence[Conversation]) -> str:
    """How many rows were read in which shape, and which columns were not."""
    shapes = ", ".join(f"{count} as {shape}" for shape, count in Counter(said.shape for said in seen).most_common())
    unused = list(dict.fromkeys(column for said in seen for column in said.unused))
    listed = ", ".join(one_line(column, 40) for column in unused[:_LISTED]) + (", ..." if len(unused) > _LISTED else "")
    return f"rows read: {shapes}; columns not used: {listed or 'none'}"


def _tell(name: str, examples: list[Example], what: str) -> None:
    """A line for the log about rows of a file, or of a folder's files."""
    if examples:
        rows = [_row(example) for example in examples]
        listed = ", ".join(rows[:_LISTED]) + (", ..." if len(rows) > _LISTED else "")
        print(f"{name}: {len(rows)} of its rows {what}: {listed}")


def _row(example: Example) -> str:
    """The number of an example's row, after the file's name where a folder has several."""
    name = example.id.partition("-")[2]
    return str(int(name)) if name.isdigit() else name


_LISTED = 10
