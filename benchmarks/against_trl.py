"""The same model, data, batch and steps through TRL's SFTTrainer and through this project's loop, in turn."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

import common

FIGURES = ("tokens_per_s", "tokens_per_processor_s", "total_tokens_per_s", "peak_memory_bytes")
ENVIRONMENT = common.ROOT / "results" / "bench" / "trl-venv"


def main() -> None:
    common.model()
    python = environment()
    found = {}
    for kind, batch in common.KINDS.items():
        file, count = str(common.examples(kind)), common.STEPS * batch
        ours, theirs = [], []
        for _ in range(common.ROUNDS):
            ours.append(common.isolated("train_ours.py", file, "sft", str(batch), common.precision()))
            theirs.append(common.isolated("train_trl.py", file, str(batch), common.precision(), python=python))
        assert ours[0]["precision"] == theirs[0]["precision"]
        extra = theirs[0]["tokens"] - ours[0]["tokens"]
        assert extra in (0, count), f"{extra} tokens: TRL reads the template's line end after an answer, and no more"
        ratios = {f"ratio_{figure}": common.median_ratio(ours, theirs, figure) for figure in FIGURES}
        found[kind] = {**ratios, "ours": common.medians(ours), "trl": common.medians(theirs)}
    common.save("against_trl", found)


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
