"""A file's rows as examples: each with the answer that its scorer compares with, of which its own response is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tradeoff.domains import Example, Split, _formats
from tradeoff.domains._scorers import Scorer, Verdict
from tradeoff.domains._shapes import Conversation, Reading, check_characters
from tradeoff.errors import one_line

NO_ANSWER = "'answer' is missing; add what a right response has or passes"
LISTED = 10


def read(
    name: str,
    path: Path,
    prefix: str,
    split: Split,
    scorer: Scorer[Any],
    reading: Reading | None = None,
    told: bool = False,
    ending: str | None = None,
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
        ending: The file's format, None for that of its name.

    Raises:
        ValueError: a row is not as it should be; the message tells the first and how many more there are.
    """
    reading = reading or Reading()
    examples, faults, seen = [], [], []
    for row in _formats.read(name, path, ending):
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
            raise ValueError(NO_ANSWER)
    if not scorer.slow:
        check_own(said.response, wanted, scorer)
    return wanted


def check_own(response: str, wanted: Any, scorer: Scorer[Any]) -> None:
    """Refuses a response that is wrong by its own answer.

    Raises:
        ValueError: it is, or no answer can be read from it.
    """
    found, right, _ = scorer.judge(response, wanted) if wanted is not None else Verdict(None, 0.0)
    if found is None:
        raise ValueError("no answer can be read from 'response', so none could from a model's; mend it or the scorer")
    if right < scorer.least:
        shown = " and ".join(wanted) if isinstance(wanted, list) else wanted
        raise ValueError(
            f"'response' itself is wrong by its 'answer': it says {one_line(found, 60)!r}, and "
            f"{one_line(shown, 60)!r} is wanted; mend one, or choose another scorer"
        )


def _described(seen: Sequence[Conversation]) -> str:
    """How many rows were read in which shape, and which columns were not."""
    shapes = ", ".join(f"{count} as {shape}" for shape, count in Counter(said.shape for said in seen).most_common())
    unused = list(dict.fromkeys(column for said in seen for column in said.unused))
    listed = ", ".join(one_line(column, 40) for column in unused[:LISTED]) + (", ..." if len(unused) > LISTED else "")
    return f"rows read: {shapes}; columns not used: {listed or 'none'}"
