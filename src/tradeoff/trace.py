"""The way back from a number: base revision, data hash, spec, code, lock, machine and command of the runs behind it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tradeoff.entries import canonical_rate
from tradeoff.errors import UserError, command, one_line
from tradeoff.provenance import (
    CARD,
    PROVENANCE,
    base_run_id,
    canonical_json,
    code_digest,
    lock_sha256,
    read_json,
    sha256_file,
)
from tradeoff.tables import schemas

BASE_FOLDER = "models/*/card.json"
STAGE = {True: "tradeoff.training.derive", False: "tradeoff.training.train"}


def trace(results: Path, words: list[str]) -> Iterator[str]:
    """Lines about every run, and base, that fits.

    Args:
        results: Folder of a study.
        words: A run's id, or what a row says of it: model, domain, method, `lr=1e-5`, `seed=0`. Of a row that is
            a mean over seeds, all of them are told.

    Raises:
        UserError: nothing fits.
    """
    asked = [_spelled(word) for word in words]
    found = [lines for kind in (_runs, _bases) for lines in kind(results, asked)]
    if not found:
        some = ", ".join(str(card.parent.relative_to(results / "runs")) for card in _cards(results)[:3]) or "no runs"
        raise UserError(
            f"{results}: no run is {one_line(' '.join(words))}; it has {some} ...; name an id or such words"
        )
    for lines in found:
        yield from lines


def _runs(results: Path, asked: list[str]) -> Iterator[Iterator[str]]:
    for card in _cards(results):
        content = read_json(card)
        names = {content["run_id"], *card.parent.relative_to(results / "runs").parts}
        if set(asked) <= names:
            yield _run(results, card.parent, content)


def _bases(results: Path, asked: list[str]) -> Iterator[Iterator[str]]:
    for card in sorted(results.glob(BASE_FOLDER)):
        content = read_json(card)
        run_id = base_run_id(card.parent.name, content["sha256"])
        if set(asked) <= {run_id, card.parent.name, "base"} and asked != [card.parent.name]:
            yield iter([f"base {run_id}", *_base(card), *_scores(results, run_id)])


def _cards(results: Path) -> list[Path]:
    """The cards of finished runs; a snapshot's is its run's."""
    return sorted((results / "runs").glob("*/*/*/*/*/card.json"))


def _run(results: Path, folder: Path, card: dict[str, Any]) -> Iterator[str]:
    spec, model, domain = card["spec"], folder.parts[-5], folder.parts[-4]
    yield f"run {card['run_id']}: {folder}"
    yield f"  method    {canonical_json(spec['method'])} at {spec['learning_rate']}, seed {spec['seed']}"
    yield f"  training  {canonical_json(spec['training'])}"
    yield f"  data      {canonical_json(spec['data'])}"
    yield from _against("data", card["data_sha256"], results / "data" / domain / "train.json", "sha256")
    yield from _against("base", card["base_sha256"], results / "models" / model / CARD, "sha256")
    yield from _base(results / "models" / model / CARD)
    stage = [STAGE["derived_from" in card], f"tradeoff.methods.{spec['method']['recipe']}"]
    yield f"  code      {card['code']}, {_same(card['code'], code_digest(stage), 'the code of this tree')}"
    yield f"  lock      {card.get('lock')}, {_same(card.get('lock'), lock_sha256(), 'envs/lock.txt')}"
    if "delta_sha256" in card:
        now = sha256_file(folder / "delta.safetensors") if (folder / "delta.safetensors").is_file() else None
        yield f"  delta     sha256 {card['delta_sha256']}, {_same(card['delta_sha256'], now, 'the file beside it')}"
    yield from _made(folder / PROVENANCE)
    yield from _scores(results, card["run_id"])
    if "derived_from" in card:
        source = (folder / card["derived_from"]).resolve()
        yield "derived from"
        yield from _run(results, results.joinpath(*source.parts[-6:]), read_json(source / CARD))


def _base(card: Path) -> Iterator[str]:
    if card.is_file():
        content = read_json(card)
        at = f" at {content['revision']}" if content["revision"] else ""
        yield f"  source    {content['source']}{at}, file {content['source_sha256']}"


def _made(file: Path) -> Iterator[str]:
    if not file.is_file():
        yield f"  machine   not known: there is no {file.name}"
        return
    content = read_json(file)
    yield "  machine   " + ", ".join(f"{key} {value}" for key, value in content["machine"].items() if value is not None)
    yield f"  finished  {content['finished']}"
    yield f"  command   {content['command']}"


def _scores(results: Path, run_id: str) -> Iterator[str]:
    file = results / "tables" / "scores.parquet"
    rows = schemas.read(file) if file.is_file() else pd.DataFrame({"run_id": []})
    for row in rows[rows["run_id"] == run_id].to_dict("records"):
        asked = f"{row['precision']}, batches of {row['batch_tokens']} tokens, template {row['template']}"
        name = f"{row['benchmark']} {row['task_version']} {row['metric']}"
        yield f"  score     {name} = {row['value']:.6g} over {row['n']} items; {asked}"


def _against(name: str, told: str, card: Path, key: str) -> Iterator[str]:
    now = read_json(card)[key] if card.is_file() else None
    yield f"  {name:<9} sha256 {told}, {_same(told, now, str(card))}"


def _same(told: object, now: object, what: str) -> str:
    if now is None:
        return f"{what} is gone"
    return f"as {what}" if told == now else f"and {what} is another: {now}"


def _spelled(word: str) -> str:
    key, _, value = word.partition("=")
    if key not in ("lr", "learning_rate"):
        return word
    try:
        return f"lr={canonical_rate(value)}"
    except ValueError as error:
        raise UserError(f"{one_line(word, 60)}: {error}") from None


def main() -> None:
    """`python -m tradeoff.trace RESULTS WORDS`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.trace", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a study, such as results/quickstart")
    parser.add_argument("words", nargs="+", help="a run's id, or a row's words: sft lr=1e-5 seed=0, or base")
    a = parser.parse_args()
    words = [part for word in a.words for part in word.split()]
    print("\n".join(trace(a.results, words)))


if __name__ == "__main__":
    command(main)
