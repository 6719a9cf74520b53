"""Tokens per second, memory and share of the machine's matrix-product peak, of each method on both kinds of data."""

from __future__ import annotations

import common
import train_ours

ROUNDS = 2


def main() -> None:
    common.model()
    found = {}
    for kind, (count, batch) in common.KINDS.items():
        file = common.examples(kind, count)
        runs: dict[str, list] = {name: [] for name in train_ours.RECIPES}
        for _ in range(ROUNDS):  # in turn, so that a busy minute of the machine does not fall on one method alone
            for name in runs:
                runs[name].append(common.isolated("train_ours.py", str(file), name, str(batch)))
        found[kind] = {name: common.medians(of) for name, of in runs.items()}
        for figures in found[kind].values():
            figures["time_against_sft"] = found[kind]["sft"]["tokens_per_s"] / figures["tokens_per_s"]
    common.write("training", found)


if __name__ == "__main__":
    main()
