"""Prints what the benchmarks last measured, `results/bench/*.json`, as one table in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import common

KINDS = {"worked": "worked answers", "label": "labels alone"}
TRL = {
    "ratio_tokens_per_s": "tokens a second over TRL's, steady steps",
    "ratio_tokens_per_processor_s": "tokens a second of processor time over TRL's, steady steps",
    "ratio_total_tokens_per_s": "tokens a second over TRL's, all steps",
    "ratio_peak_memory_bytes": "peak memory over TRL's",
}


def main() -> None:
    files = ("training", "against_trl", "evaluation", "planning")
    found = {name: json.loads((common.OUTPUT / f"{name}.json").read_text()) for name in files}
    machine, sides = found["against_trl"]["machine"], found["against_trl"]["worked"]
    print(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, {machine['date']}; ours in "
        f"{sides['ours']['precision']}, TRL in {sides['trl']['precision']}, "
        f"{sides['ours']['steady_steps']:g} steady steps\n"
    )
    print("| | " + " | ".join(KINDS.values()) + " |")
    print("|---|---|---|")
    for label, values in rows(found):
        print(f"| {label} | " + " | ".join(f"{value:.2f}" for value in values) + (" | |" if len(values) == 1 else " |"))


def rows(found: dict[str, Any]) -> Iterator[tuple[str, list[float]]]:
    """A label and a figure for each kind of data, or one figure."""
    against, training = found["against_trl"], found["training"]
    for figure, label in TRL.items():
        yield label, [against[kind][figure] for kind in KINDS]
    yield (
        "share of the matrix-product peak of one process",
        [training[kind]["sft"]["share_of_matrix_peak"] for kind in KINDS],
    )
    for method in training["worked"]:
        if method != "sft":
            yield f"time a token over SFT's: {method}", [training[kind][method]["time_against_sft"] for kind in KINDS]
    for part, figures in found["evaluation"].items():
        if part != "machine":
            label = f"items a second over lm-eval's command line, {figures['items']} {part}, starts included"
            yield label, [figures["ratio_items_per_s"]]
            yield f"{label}, of processor time", [figures["ratio_items_per_processor_s"]]
    yield f"seconds to plan {found['planning']['runs']:g} runs", [found["planning"]["plan_seconds"]]
    yield "seconds to say that nothing is left to do", [found["planning"]["nothing_to_do_seconds"]]


if __name__ == "__main__":
    main()
