"""IFEval: 541 prompts with one to three instructions, of 25 kinds, that a program can check.

Source: Zhou et al. 2023, arXiv 2311.07911; verdicts as in lm-eval, see `ifeval_checks`. Its four accuracies: of prompts
and of instructions, strict and loose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets

from tradeoff.draws import draw
from tradeoff.evaluation.ifeval_checks import arguments, pooled_mean, process_results
from tradeoff.sources import read_fields

__all__ = ["items", "pooled_mean", "process_results"]

FIELDS = {"key": int, "prompt": str, "instruction_id_list": list, "kwargs": list}


def items(
    count: int | None = None, seed: int = 0, files: dict[str, str] | None = None, **_: Any
) -> dict[str, datasets.Dataset]:
    """The test split: `count` prompts, or all.

    Raises:
        ValueError: there are fewer than `count`, or the file is not what it should be.
    """
    files = files or {}
    rows = _rows(files["ifeval"])
    if count is not None:
        rows = draw(rows, count, f"ifeval {seed}", files["ifeval"])
    return {"test": datasets.Dataset.from_list(rows)}


def _rows(path: str) -> list[dict[str, Any]]:
    """Prompts of a file, each instruction with its own arguments."""
    rows = read_fields(Path(path), FIELDS)
    for number, row in enumerate(rows, 1):
        # (Parquet has a column for every argument, filled with None.)
        row["kwargs"] = [
            {name: value for name, value in kwargs.items() if value is not None} for kwargs in row["kwargs"]
        ]
        _check(row["instruction_id_list"], row["kwargs"], f"{path}, row {number}")
    return rows


def _check(instructions: list[str], given: list[dict[str, Any]], where: str) -> None:
    """Refuses what a checker would fail at after all the generation, or fill with arguments of its own."""
    if len(given) != len(instructions):
        raise ValueError(f"{where}: has {len(instructions)} instructions and kwargs for {len(given)}")
    for instruction, kwargs in zip(instructions, given, strict=True):
        try:
            needed = arguments(instruction)
        except KeyError:
            raise ValueError(f"{where}: lm-eval has no instruction {instruction!r}") from None
        for name in needed:
            if not kwargs.get(name):  # lm-eval drops 0 and "" too
                raise ValueError(f"{where}: has no {name}, which {instruction} needs")
