"""Tokens per second, memory and share of the machine's matrix-product peak, of each method on both kinds of data."""

from __future__ import annotations

from typing import Any

import common
import train_ours


def main() -> None:
    common.model()
    found: dict[str, Any] = {}
    for kind, batch in common.KINDS.items():
        file = common.examples(kind)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in train_ours.RECIPES}
        for _ in range(common.ROUNDS):  # in turn: a busy minute of the machine does not fall on one method alone
            for name, of in runs.items():
                of.append(common.isolated("train_ours.py", str(file), name, str(batch), common.precision()))
        found[kind] = {name: common.medians(of) for name, of in runs.items()}
        for name, of in runs.items():
            found[kind][name]["time_against_sft"] = common.median_ratio(runs["sft"], of, "tokens_per_s")
            found[kind][name]["processor_time_against_sft"] = common.median_ratio(
                runs["sft"], of, "tokens_per_processor_s"
            )
    common.save("training", found)


if __name__ == "__main__":
    main()
