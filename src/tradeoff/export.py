"""Writes a run as an ordinary model folder (safetensors and tokenizer), for people who want to deploy one."""

from __future__ import annotations

import argparse
from pathlib import Path

from tradeoff.errors import UserError, command
from tradeoff.models import DTYPES, load_result, load_tokenizer
from tradeoff.provenance import CARD, read_json


def export(base: Path, run: Path, output: Path, dtype: str) -> None:
    """Adds a run's delta to its base in float32 and saves the sum.

    Args:
        base: Folder of the imported base, `results/<study>/models/<model>`.
        run: Folder of the run.
        output: Folder to write; must not exist.
        dtype: "float32" keeps the whole update; "bfloat16" keeps the share that the run's card names.

    Raises:
        UserError: the run was made from another base, or the output exists.
    """
    if output.exists():
        raise UserError(f"{output}: exists; name another folder")
    card = read_json(run / CARD)
    if card["base_sha256"] != read_json(base / CARD)["sha256"]:
        raise UserError(f"{run}: made from another base than {base}; name its own")
    load_result(base, run).to(DTYPES[dtype]).save_pretrained(output)
    load_tokenizer(base).save_pretrained(output)
    if dtype == "bfloat16":
        kept, moved = card["update"]["share_kept_bfloat16"], card["update"]["share_moved"]
        print(f"{output}: {moved:.1%} of the weights moved, {kept:.1%} still differ from the base in bfloat16")


def main() -> None:
    """`python -m tradeoff.export BASE RUN OUTPUT`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.export", description=__doc__)
    parser.add_argument("base", type=Path, help="such as results/quickstart/models/smollm2-135m")
    parser.add_argument("run", type=Path, help="such as results/quickstart/runs/.../seed=0")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    a = parser.parse_args()
    export(a.base, a.run, a.output, a.dtype)


if __name__ == "__main__":
    command(main)
