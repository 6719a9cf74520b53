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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from tradeoff.domains import Domain, Example, Metric, Outcome, Split, _formats
from tradeoff.domains._json import JsonFields, JsonValid
from tradeoff.domains._overlap import ChrF, RougeL, TokenF1
from tradeoff.domains._programs import Code, Own, file_of
from tradeoff.domains._rows import LISTED, NO_ANSWER, check_own, read
from tradeoff.domains._scorers import Choice, Contains, Exact, Number, Regex, Scorer
from tradeoff.domains._shapes import KNOWN, Reading, template
from tradeoff.domains._splits import apart, held_out, near, repeated
from tradeoff.draws import draw
from tradeoff.errors import UserError, shown
from tradeoff.hub import MARK, PLACE, HubTable
from tradeoff.section import fail, nearest

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
        train: Path of the training file or of a folder of such files, or `hub:<owner>/<name>@<commit>`; a row whose
            prompt is a test item's is dropped.
        test: The same of the test items, or how much of the training data is held out: a share, or a number of prompts.
        config: Configuration of a data set of the hub.
        split: Split of a data set of the hub to train on.
        test_split: Split of a data set of the hub to test on.
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
    config: Place | None = None
    split: Place | None = None
    test_split: Place | None = None
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
        self._check_hub()
        tables = [self._table("train"), self._table("test")]
        if tables[0] and tables[0] == tables[1]:
            raise fail(f"train and test are one split, {tables[0].split}; name another as test_split")
        if (
            isinstance(self.test, str)
            and not any(tables)
            and os.path.normpath(self.train) == os.path.normpath(self.test)
        ):
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

    def _check_hub(self) -> None:
        for key in ("train", "test"):
            place = getattr(self, key)
            if isinstance(place, str) and place.startswith(MARK) and not PLACE.fullmatch(place):
                raise fail(f"{key}: a data set is read at one commit; write hub:<owner>/<name>@<40 hex digits>")
        tables = {"config": self.hub_tables(), "split": self._table("train"), "test_split": self._table("test")}
        for key, found in tables.items():
            if getattr(self, key) is not None and not found:
                raise fail(f"{key}: only a data set of the hub has one; remove it")

    def _table(self, split: Split) -> HubTable | None:
        """The data set of the hub that a split is read from."""
        place = self.train if split == "train" else self.test
        found = PLACE.fullmatch(place) if isinstance(place, str) else None
        its_split = (self.split or "train") if split == "train" else (self.test_split or "test")
        return HubTable(found["repository"], found["revision"], self.config, its_split) if found else None

    def hub_tables(self) -> tuple[HubTable, ...]:
        """See `Domain.hub_tables`."""
        return tuple(filter(None, (self._table("train"), self._table("test"))))

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
        train = self._files("train")
        if not isinstance(self.test, str):
            return train
        test = self._files("test")
        return test if split == "test" else (*train, *test)

    def _files(self, split: Split) -> tuple[str, ...]:
        if table := self._table(split):
            return (table.name,)
        return _formats.files_of(self.train if split == "train" else str(self.test))

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. Prints how the rows were read, what was dropped and what stands twice."""
        two = isinstance(self.test, str)
        name, tested = self._label(split if two else "train"), self._label("test")
        if two:
            test = self._read("test", files, told=split == "test")
            train = self._read("train", files) if split == "train" else []
        else:
            train, test = held_out(self._read("train", files), float(self.test))
            print(f"{name}: {len(test)} of its rows are held out for testing, {len(train)} stay for training")
            test = [self._as_test(example) for example in test] if split == "test" else test
        pool = test
        if split == "train":
            learned = [replace(example, all_turns=self.supervise == "all") for example in train]
            pool, dropped = apart(learned, test)
            _tell(name, dropped, f"dropped, since the prompt is in {tested if two else 'what is held out'}")
            _tell(name, near(pool, test), "kept, though the prompt is nearly a test item's; look at them")
        _tell(name, repeated(pool), "kept, though the prompt stands in an earlier row")
        drawn = draw(pool, count, f"{self.kind} {split} {seed}", name)
        if split == "test" and self._scorer.slow:
            self._check(drawn, name)
        return drawn

    def _label(self, split: Split) -> str:
        """What a split is read from, for messages."""
        table = self._table(split)
        return table.label if table else str(self.train if split == "train" else self.test)

    def _check(self, drawn: list[Example], name: str) -> None:
        """Checks responses by their answers, where that takes long."""
        for example in drawn:
            try:
                check_own(example.response, example.answer[self._scorer.key], self._scorer)
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
            raise ValueError(f"{self.train}, row {_row(example)}: {NO_ANSWER}")
        return replace(example, id=f"test-{example.id.partition('-')[2]}")

    def _read(self, split: Split, files: Mapping[str, Path], told: bool = True) -> list[Example]:
        """The examples of a file, of a folder's files or of a data set; an id ends with the row's number."""
        reading = Reading(self.shape, self.columns, self.prompt, self.system_prompt)
        if table := self._table(split):
            return read(table.label, files[table.name], split, split, self._scorer, reading, told, ".parquet")
        place = self._label(split)
        found = []
        for name, path in files.items():
            if name == place:
                found += read(name, path, split, split, self._scorer, reading, told)
            elif PurePath(name).parent == PurePath(place):
                found += read(name, path, f"{split}-{PurePath(name).name}", split, self._scorer, reading, told)
        return found


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
    """A line for the log about rows of a file, or of a folder's files."""
    if examples:
        rows = [_row(example) for example in examples]
        listed = ", ".join(rows[:LISTED]) + (", ..." if len(rows) > LISTED else "")
        print(f"{name}: {len(rows)} of its rows {what}: {listed}")


def _row(example: Example) -> str:
    """The number of an example's row, after the file's name where a folder has several."""
    name = example.id.partition("-")[2]
    return str(int(name)) if name.isdigit() else name
