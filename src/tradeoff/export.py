"""Writes a run as an ordinary model folder, for people who want to deploy one: it loads as the base does.

The weights have the names of the base's own files, all parts of the model included. The base's small files
(configuration, tokenizer, template, generation config, processor) are copied as they were. `tradeoff.json` says how to
prompt the model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoTokenizer

from tradeoff.errors import UserError, command
from tradeoff.models.base import MODEL, ORIGINAL, REST, WEIGHTS, load_chat, load_result
from tradeoff.models.precision import DTYPES
from tradeoff.provenance import CARD, read_json, write_json

INDEX = "model.safetensors.index.json"


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
    card, of_base = read_json(run / CARD), read_json(base / CARD)
    if card["base_sha256"] != of_base["sha256"]:
        raise UserError(f"{run}: made from another base than {base}; name its own")
    tokenizer = load_chat(base).tokenizer
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    model = load_result(base, run).to(DTYPES[dtype])
    # The base's file has the model's own names, so that nothing was converted; its source's names are the usual ones.
    vars(model).pop("_weight_conversions", None)
    model.save_pretrained(aside, max_shard_size="1TB")
    original = base / MODEL / ORIGINAL
    if original.is_dir():
        _copy_original(original, aside, dtype)
        if AutoTokenizer.from_pretrained(aside).chat_template != tokenizer.chat_template:  # the study's own
            (aside / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    else:
        tokenizer.save_pretrained(aside)
    if (base / MODEL / REST).is_file():
        _add_rest(base / MODEL / REST, aside)
    prompting = {key: of_base["chat"][key] for key in ("arguments", "response_prefix", "date", "system_turn")}
    made = {"run_id": card["run_id"], "source": of_base["source"], "revision": of_base["revision"], "dtype": dtype}
    write_json(aside / "tradeoff.json", {**made, "prompt_with": prompting})
    aside.replace(output)
    if prompting["arguments"] or prompting["response_prefix"]:
        print(f"{output}: prompt it as it was trained, see prompt_with in tradeoff.json: {json.dumps(prompting)}")
    if dtype == "bfloat16":
        kept, moved = card["update"]["share_kept_bfloat16"], card["update"]["share_moved"]
        print(f"{output}: {moved:.1%} of the weights moved, {kept:.1%} still differ from the base in bfloat16")


def _copy_original(original: Path, output: Path, dtype: str) -> None:
    """The base's small files, its configuration with the precision of the exported weights."""
    for file in sorted(original.iterdir()):
        shutil.copyfile(file, output / file.name)
    config = read_json(output / "config.json")
    for part in _parts(config):
        for key in {"dtype", "torch_dtype"} & set(part):
            part[key] = dtype
    write_json(output / "config.json", config)


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [config, *(part for value in config.values() if isinstance(value, dict) for part in _parts(value))]


def _add_rest(rest: Path, output: Path) -> None:
    """Adds the weights that transformers does not load as a second file, with an index of both."""
    shutil.copyfile(rest, output / REST)
    files: dict[str, str] = {}
    for name in (WEIGHTS, REST):
        with safe_open(output / name, "pt") as content:
            files |= dict.fromkeys(content.keys(), name)
    size = sum((output / name).stat().st_size for name in (WEIGHTS, REST))
    write_json(output / INDEX, {"metadata": {"total_size": size}, "weight_map": files})


def main() -> None:
    """`python -m tradeoff.export BASE RUN OUTPUT`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.export", description="Write a run as a model folder.")
    parser.add_argument("base", type=Path, help="such as results/quickstart/models/smollm2-135m")
    parser.add_argument("run", type=Path, help="such as results/quickstart/runs/.../seed=0")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    a = parser.parse_args()
    export(a.base, a.run, a.output, a.dtype)


if __name__ == "__main__":
    command(main)
