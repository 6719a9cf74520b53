"""Training and test examples apart: held out by a hash, equal prompts dropped, prompts that are nearly equal found."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

import regex  # type: ignore[import-untyped]

from tradeoff.domains import Example
from tradeoff.domains._scorers import SPACELESS

PROPOSED, NEAR = 0.6, 0.8  # Jaccard similarities of shingles: of pairs to look at, and of prompts that are nearly equal
SHINGLE = 3  # words
# Scripts that put no space between words have a word a character; signs are words too, lest 2 + 2 be 2 * 2.
_WORD = regex.compile(rf"[^\W{SPACELESS}]+|\S")


def held_out(examples: Sequence[Example], part: float) -> tuple[list[Example], list[Example]]:
    """The examples that stay for training, and those that are held out for testing, each in their order.

    A prompt's own hash decides, so that a share holds out the same prompts whatever other rows come or go; a number
    takes the prompts of the lowest hashes, of which a new row replaces one at most. Equal prompts stay together.

    Args:
        examples: All there are.
        part: How much is held out: below 1 the share of prompts, on average, or else a number of prompts.

    Raises:
        ValueError: nothing is held out, or nothing is left.
    """
    hashes = [_hash(example) for example in examples]
    if part < 1:
        chosen = {value for value in hashes if value < part * 2**256}
    else:
        chosen = set(sorted(set(hashes))[: int(part)])
    train, test = (
        [example for example, value in zip(examples, hashes, strict=True) if (value in chosen) == wanted]
        for wanted in (False, True)
    )
    if not train or not test:
        raise ValueError(
            f"test: {part:g} holds out {len(test)} of {len(examples)} rows; choose another share or number, or add rows"
        )
    return train, test


def apart(train: Iterable[Example], test: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Training examples that answer no test item's prompt, and those that do, however it is spaced or composed.

    One whose earlier turns are supervised answers the prompts of these too.
    """
    tested = {prompt_of(example) for example in test}
    kept: list[Example] = []
    dropped: list[Example] = []
    for example in train:
        (dropped if tested & _answered(example) else kept).append(example)
    return kept, dropped


def repeated(examples: Iterable[Example]) -> list[Example]:
    """Examples whose prompt an earlier one has."""
    seen: set[tuple[str, ...]] = set()
    again = []
    for example in examples:
        if (prompt := prompt_of(example)) in seen:
            again.append(example)
        seen.add(prompt)
    return again


def near(train: Sequence[Example], test: Sequence[Example]) -> list[Example]:
    """Training examples whose prompt is nearly a test item's: their shingles' Jaccard similarity is at least `NEAR`.

    MinHash proposes pairs, of which it may miss a few, and each is then compared in full. The time is linear in the
    length of the texts.
    """
    from datasketch import MinHash, MinHashLSH

    def sketch(shingles: set[str]) -> MinHash:
        found = MinHash(seed=1)
        found.update_batch([shingle.encode() for shingle in shingles])
        return found

    tested = [_shingles(example) for example in test]
    index = MinHashLSH(threshold=PROPOSED)
    for number, shingles in enumerate(tested):
        index.insert(number, sketch(shingles))
    alike = []
    for example in train:
        shingles = _shingles(example)
        if any(_jaccard(shingles, tested[number]) >= NEAR for number in index.query(sketch(shingles))):
            alike.append(example)
    return alike


def prompt_of(example: Example) -> tuple[str, ...]:
    """An example's turns in the form in which they are compared: composed, and with single spaces."""
    texts = (unicodedata.normalize("NFC", " ".join(message["content"].split())) for message in example.messages)
    return tuple(f"{message['role']}: {text}" for message, text in zip(example.messages, texts, strict=True))


def _answered(example: Example) -> set[tuple[str, ...]]:
    """The prompts whose answers are supervised."""
    prompt = prompt_of(example)
    earlier = [place for place, turn in enumerate(example.messages) if turn["role"] == "assistant"]
    return {prompt, *(prompt[:place] for place in earlier if example.all_turns)}


def _asked(example: Example) -> str:
    """The turns but the system's, which all prompts may share and which a study may reword."""
    return "\n".join(turn for turn in prompt_of(example) if not turn.startswith("system: "))


def _hash(example: Example) -> int:
    return int.from_bytes(hashlib.sha256(_asked(example).encode()).digest())


def _shingles(example: Example) -> set[str]:
    """Runs of words; all words where there are fewer."""
    words = _WORD.findall(_asked(example).casefold())
    return {" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))}


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
