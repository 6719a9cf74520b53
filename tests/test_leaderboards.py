"""One study with groups and tasks of lm-eval by name, on stand-in data of the same columns, the whole way."""

import json
from pathlib import Path

import datasets
import pytest
from test_airgapped import REFUSE
from test_smoke import Tree

from tradeoff.evaluation.harness.tree import expanded, leaves_of
from tradeoff.models.base import MODEL
from tradeoff.provenance import read_json
from tradeoff.tables import schemas

STUDY = """
study: smoke
models: {{tiny: {{source: "folder:{model}"}}}}
domains: [shop_mini]
methods: {{sft: {{recipe: sft}}}}
learning_rates: ["1e-3"]
seeds: [0]
general:
  mmlu:             {{items: 60}}
  hellaswag:        {{metric: acc_norm, num_fewshot: 1}}
  ifeval:           {{max_new_tokens: 4}}
  ifeval_of_lm_eval: {{lm_eval: ifeval, max_new_tokens: 4}}
general_score: {{mmlu: 2, ifeval: 1}}
data:       {{train: 4, test: 2}}
training:   {{epochs: 1, batch_size: 2, batch_tokens: 4096, max_length: 4096}}
evaluation: {{items: 2}}
"""


def subjects():
    return {leaf.config["dataset_name"]: leaf.name for leaf in leaves_of(expanded("mmlu"))}


def data_set(folder: Path, configs: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    """A data set as `hf download --repo-type dataset` leaves it: Parquet files, and a README that names them."""
    told = []
    for config, splits in configs.items():
        files = []
        for split, rows in splits.items():
            file = folder / config / f"{split}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_list(rows).to_parquet(file)
            files.append({"split": split, "path": f"{config}/{split}.parquet"})
        told.append({"config_name": config, "data_files": files})
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(told)}\n---\n")


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "files"
    questions = {
        config: {
            split: [
                {"question": f"{config} {split} {n}?", "subject": config, "choices": list("wxyz"), "answer": n % 4}
                for n in range(count)
            ]
            for split, count in (("test", 2), ("validation", 1), ("dev", 5))
        }
        for config in subjects()
    }
    data_set(root / "cais/mmlu", questions)
    scenes = [
        {
            "ind": n,
            "activity_label": "Cooking",
            "ctx_a": f"A man cuts {n} onions.",
            "ctx_b": "he",
            "ctx": f"A man cuts {n} onions. he",
            "endings": ["cries [header] a bit.", "flies.", "sings.", "sleeps."],
            "label": str(n % 4),
        }
        for n in range(5)
    ]
    data_set(root / "Rowan/hellaswag", {"default": {split: scenes for split in ("train", "validation")}})  # noqa: C420
    orders = [
        {
            "key": n,
            "prompt": f"Write {n} words, no comma.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
        for n in range(3)
    ]
    (root / "ifeval").mkdir()
    (root / "ifeval/input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in orders))
    whole = [{**row, "kwargs": [{"num_words": None}]} for row in orders]
    data_set(root / "google/IFEval", {"default": {"train": whole}})
    return root


def test_benchmarks_of_lm_eval_by_name_are_planned_and_run_without_a_network(tmp_path, tiny_base, files):
    (tmp_path / "tree").mkdir()
    tree = Tree(tmp_path / "tree", tiny_base)
    tree.study.write_text(STUDY.format(model=tiny_base / MODEL))
    tree.take_any_data()
    (tree.folder / "src/sitecustomize.py").write_text(REFUSE.format(asked=str(tree.folder / "asked.txt")))
    given = ("--config", f"data_root={files}")
    planned = tree.planned(*given)
    assert (planned["fetch_benchmark"], planned["fetch"], planned["evaluate"]) == (3, 1, 1)

    tree.snakemake(*given)
    assert not (tree.folder / "asked.txt").exists(), (tree.folder / "asked.txt").read_text()
    scores = schemas.read(tree.results / "tables/scores.parquet")
    base = scores[scores["method"] == "base"].set_index(["benchmark", "metric"])
    assert base.loc[("mmlu", "acc"), "n"] == 60
    assert (
        base.loc[("hellaswag", "acc_norm"), "n"] == base.loc[("ifeval_of_lm_eval", "prompt_level_strict_acc"), "n"] == 2
    )
    shots = base["num_fewshot"].groupby(level=0).first().to_dict()
    assert (shots["mmlu"], shots["hellaswag"], shots["ifeval"]) == (0, 1, 0)
    assert base.loc[("mmlu", "acc"), "task_version"].startswith("2+57 data sets, digest ")
    assert base.loc[("hellaswag", "acc"), "task_version"].startswith("1.0+Rowan/hellaswag@sha256:")
    ours, theirs = (base.loc[(name, "prompt_level_strict_acc"), "value"] for name in ("ifeval", "ifeval_of_lm_eval"))
    assert {ours, theirs} <= {0.0, 0.5, 1.0}

    samples = schemas.read(tree.results / "tables/samples.parquet")
    of_mmlu = samples[(samples["benchmark"] == "mmlu") & (samples["method"] == "base")]
    assert {item.rpartition("-")[0] for item in of_mmlu["item"]} == set(subjects().values())
    assert of_mmlu["prompt"].str.contains("The following are multiple choice questions").all()
    table = schemas.read(tree.results / "tables/tradeoff.parquet")
    parts = table[["mmlu", "hellaswag", "ifeval", "ifeval_of_lm_eval"]]
    assert (table["general_plain"] - parts.mean(axis=1)).abs().max() < 1e-12
    assert (table["general_score"] - (2 * table["mmlu"] + table["ifeval"]) / 3).abs().max() < 1e-12
    assert (table["mmlu_low"] <= table["mmlu"]).all()
    card = read_json(tree.results / "benchmarks/mmlu.json")
    assert len(card["sources"]) == 57
    leaked = schemas.read(tree.results / "tables/leakage.parquet")
    assert leaked.groupby("benchmark").size().to_dict() == {
        "hellaswag": 2,
        "ifeval": 2,
        "ifeval_of_lm_eval": 2,
        "mmlu": 60,
    }
    assert leaked["example"].isna().all()

    assert "Nothing to be done" in tree.snakemake(*given)
    tree.study.write_text(tree.study.read_text().replace("general_score: {mmlu: 2, ifeval: 1}\n", ""))
    assert not {"evaluate", "evaluate_base", "train", "fetch_benchmark"} & set(tree.planned(*given))
    tree.study.write_text(tree.study.read_text().replace("num_fewshot: 1", "num_fewshot: 0"))
    assert not {"train", "fetch_benchmark"} & set(tree.planned(*given))
    assert {"evaluate", "evaluate_base"} <= set(tree.planned(*given))
    (files / "Rowan/hellaswag/README.md").unlink()
    for file in (files / "Rowan/hellaswag").rglob("*.parquet"):
        file.unlink()
    (files / "Rowan/hellaswag/default").rmdir()
    (files / "Rowan/hellaswag").rmdir()
    told = tree.refused("--dry-run", *given)
    assert told.startswith(
        "general.hellaswag: reads the hub data set Rowan/hellaswag, which is not on this machine, and"
    )
