"""The same model, data, batch and steps through TRL's SFTTrainer and through this project's loop, in turn."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import common

ROUNDS = 2
ENVIRONMENT = common.OUTPUT / "trl-venv"


def main() -> None:
    common.model()
    python = environment()
    found = {}
    for kind, (count, batch) in common.KINDS.items():
        file = str(common.examples(kind, count))
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(common.isolated("train_ours.py", file, "sft", str(batch)))
            theirs.append(common.isolated("train_trl.py", file, str(batch), python=python))
        extra = theirs[0]["tokens"] - ours[0]["tokens"]
        assert extra in (0, count), f"{extra} tokens: TRL reads the template's line end after an answer, and no more"
        ratios = {
            f"ratio_{name}": common.median(a[figure] / b[figure] for a, b in zip(ours, theirs, strict=True))
            for name, figure in (("tokens_per_s", "tokens_per_s"), ("peak_memory", "peak_memory_bytes"))
        }
        found[kind] = {**ratios, "ours": common.medians(ours), "trl": common.medians(theirs)}
    common.write("against_trl", found)


def environment() -> str:
    """TRL's own environment: this one's packages, so that both run on the same torch, and what TRL adds to them."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        packages = next((ENVIRONMENT / "lib").glob("python3*/site-packages"))
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pins = str(common.ROOT / "benchmarks" / "trl.txt")
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-r", pins], check=True)
    return str(python)


if __name__ == "__main__":
    main()
