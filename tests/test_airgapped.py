"""The paper's benchmarks and a person's own domain from files on a disk: the whole way, no network asked."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from test_smoke import ROOT, Tree

from tradeoff.models.base import MODEL
from tradeoff.tables import schemas

STUDY = """
study: smoke
models: {{tiny: {{source: "folder:{model}"}}}}
domains:
  medcalc: {{domain: medcalc, max_new_tokens: 16}}
  tickets: {{domain: jsonl, train: tickets/train.jsonl, test: tickets/test.jsonl, scorer: choice, choices: [a, b]}}
methods: {{sft: {{recipe: sft}}}}
learning_rates: ["1e-3"]
seeds: [0]
general:
  ifeval:    {{max_new_tokens: 8}}
  gsm8k:     {{max_new_tokens: 8, num_fewshot: 2}}
  humaneval: {{max_new_tokens: 8}}
data:       {{train: all, test: 2}}
training:   {{epochs: 1, batch_size: 2, batch_tokens: 4096, max_length: 4096}}
evaluation: {{items: 2, allow_code_execution: true}}
"""
# Python starts with this file when it is on its path: every job of the study would trip over its first connection.
REFUSE = """
import socket
from pathlib import Path

def refuse(*arguments, **_):
    with Path({asked!r}).open("a") as file:
        file.write(f"{{arguments[-1]}}\\n")
    raise OSError("there is no network here")

connect = socket.socket.connect
socket.socket.connect = lambda self, at: connect(self, at) if self.family == socket.AF_UNIX else refuse(at)
socket.getaddrinfo = refuse
"""
COLUMNS = (
    "Row Number,Calculator ID,Calculator Name,Category,Output Type,Note ID,Note Type,Patient Note,Question,"
    "Relevant Entities,Ground Truth Answer,Lower Limit,Upper Limit,Ground Truth Explanation"
)


def medcalc_row(number: int) -> list[object]:
    note = f"A man has a systolic pressure of {100 + number} and a diastolic pressure of 70."
    value = round((100 + number + 140) / 3, 3)
    explanation = f"({100 + number} + 2 * 70) / 3 = {value}"
    limits = (round(value * 0.95, 3), round(value * 1.05, 3))
    question = "What is the mean arterial pressure?"
    return [number, 5, "MAP", "physical", "decimal", "n", "t", note, question, "{}", value, *limits, explanation]


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "files"
    for folder in ("medcalc", "gsm8k", "ifeval"):
        (root / folder).mkdir(parents=True)
    for split, numbers in (("train", range(4)), ("test", range(4, 7))):
        with (root / f"medcalc/{split}_data.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS.split(","), *map(medcalc_row, numbers)])
        rows = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in numbers]
        (root / f"gsm8k/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [
        {
            "key": n,
            "prompt": f"Write {n} words, no comma.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
        for n in range(3)
    ]
    (root / "ifeval/input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def tree(tmp_path, tiny_base, files):
    folder = tmp_path / "tree"
    folder.mkdir()
    made = Tree(folder, tiny_base)
    made.study.write_text(STUDY.format(model=tiny_base / MODEL))
    made.take_any_data()
    shutil.copytree(ROOT / "profiles", folder / "profiles", dirs_exist_ok=True)
    (folder / "src/sitecustomize.py").write_text(REFUSE.format(asked=str(folder / "asked.txt")))
    (folder / "tickets").mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"prompt": f"{split} {n}", "response": "ab"[n % 2]}) for n in range(4)]
        (folder / f"tickets/{split}.jsonl").write_text("\n".join(lines))
    return made


def test_real_benchmarks_from_a_disk_ask_nothing_of_a_network(tree, files):
    given = ("--config", f"data_root={files}")
    output = tree.snakemake(*given)
    assert not (tree.folder / "asked.txt").exists(), (tree.folder / "asked.txt").read_text()

    table = schemas.read(tree.results / "tables/tradeoff.parquet")
    assert table["domain"].tolist() == ["medcalc"] * 2 + ["tickets"] * 2
    parts = table[["ifeval", "gsm8k", "humaneval"]]
    assert (table["general_score"] - parts.mean(axis=1)).abs().max() < 1e-12

    scores = schemas.read(tree.results / "tables/scores.parquet")
    filters = set(scores[scores["benchmark"] == "gsm8k"]["filter"])
    assert filters == {"flexible-extract", "strict-match", "lenient"}
    assert set(scores[scores["benchmark"] == "medcalc"]["task_version"]) == {"1.1+v1.0"}
    assert {"repaired", "official", "repaired_physical"} <= set(scores[scores["benchmark"] == "medcalc"]["metric"])
    assert {"balanced_accuracy", "macro_f1"} <= set(scores[scores["benchmark"] == "tickets"]["metric"])
    shots = scores.groupby("benchmark")["num_fewshot"].unique().str[0].to_dict()
    assert shots == {"medcalc": 0, "tickets": 0, "ifeval": 0, "gsm8k": 2, "humaneval": 0}
    # A random model never stops by itself: all answers end at the limit, which is counted and told.
    assert scores[scores["benchmark"] == "ifeval"]["n_truncated"].eq(2).all()
    assert "ifeval: of one model up to 100% of the answers ended at the limit of 8 tokens" in output

    assert "Nothing to be done" in tree.snakemake(*given)
    for path in [*files.rglob("*.*"), *(tree.folder / "tickets").iterdir()]:
        path.touch()
    assert not {"train", "encode"} & set(tree.planned(*given))

    moved = Path(shutil.copytree(files, files.with_name("moved")))
    assert not {"train", "encode"} & set(tree.planned("--config", f"data_root={moved}"))
    (moved / "ifeval/input_data.jsonl").unlink()
    told = tree.refused("--dry-run", "--config", f"data_root={moved}")
    assert told.endswith(f"there is no {moved}/ifeval/input_data.jsonl, which ifeval is read from; put the file there")
