"""The store of evaluations: what was measured is not measured again, and nothing answers for another model."""

import copy
import shutil
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import local_tasks
import pyarrow.parquet as pq
import pytest
import tiny

from tradeoff import data, domains, sources
from tradeoff.evaluation import evaluate, from_json
from tradeoff.evaluation.evaluate import Evaluator
from tradeoff.evaluation.harness import data as harness
from tradeoff.evaluation.task import Task
from tradeoff.models.chat import Chat
from tradeoff.models.resident import Resident
from tradeoff.provenance import CARD, base_run_id, digest, packages, read_json, write_json
from tradeoff.study import Study

STUDY = {
    "study": "small",
    "models": {"tiny": {"source": "folder:somewhere"}},
    "domains": ["shop_mini"],
    "methods": {"sft": {"recipe": "sft"}},
    "learning_rates": ["1e-5"],
    "seeds": [0],
    "general": {"arithmetic_mini": {"items": 3}, "ifeval_mini": {"items": 2}},
    "data": {"train": 8, "test": 3},
    "training": {"epochs": 1, "batch_size": 2},
    "evaluation": {"items": 8, "batch_tokens": 400},
}


@pytest.fixture
def root(tmp_path):
    data.write(tmp_path / "data/shop_mini/test.jsonl", domains.kind("shop_mini")().examples("test", 3, 0, {}), {})
    return tmp_path


@pytest.fixture
def loads(monkeypatch):
    """Bases that were loaded."""
    seen = []
    monkeypatch.setattr(evaluate, "Resident", lambda base, *a: seen.append(base) or Resident(base, *a))
    return seen


def evaluator(base, root, code="c", **changes):
    study = Study.model_validate({**copy.deepcopy(STUDY), **changes})
    specs = {name: {**study.benchmark_spec(name), "code": code} for name in study.benchmarks()}
    return Evaluator(base, study.evaluation_spec(), specs, root)


def evaluated(of, run=None):
    return of.evaluate(run, "tiny")


def test_an_evaluation_is_done_once_and_read_again(tiny_base, root, loads):
    first = evaluated(evaluator(tiny_base, root))
    assert len(loads) == 1
    kept = evaluated(evaluator(tiny_base, root))
    assert len(loads) == 1
    assert kept.equals(first)
    # Counted in the order of the rows, which `group_by` leaves to its threads.
    assert list(Counter(first["benchmark"].to_pylist()).items()) == [
        ("shop_mini", 3),
        ("arithmetic_mini", 3),
        ("ifeval_mini", 2),
    ]


def test_an_item_without_a_right_response_is_scored_and_its_code_length_is_not_measured(tiny_base, root):
    own = {"general": {"arithmetic_mini": {"items": 2}}}
    whole = evaluated(evaluator(tiny_base, root, **own)).to_pylist()
    path = root / "data/shop_mini/test.jsonl"
    first, *others = data.read(path)
    data.write(path, [replace(first, response=""), *others], {})
    without, *others = evaluated(evaluator(tiny_base, root, **own)).to_pylist()
    assert whole[0]["token_nll"]
    assert without["target"] == '{"label":"' + first.response + '"}'
    assert (without["token_nll"], without["token_text"], without["text_bytes"]) == (None, None, None)
    assert dict(without["values"]) == {k: v for k, v in whole[0]["values"] if k != "code_length"}
    assert dict(without["weights"]) == {k: v for k, v in whole[0]["weights"] if k != "code_length"}
    assert without["response"] == whole[0]["response"]
    for other, before in zip(others, whole[1:], strict=True):
        assert other == {**before, "token_nll": other["token_nll"], "values": other["values"]}
        assert dict(other["values"]) == pytest.approx(dict(before["values"]), abs=1e-5)  # sums are rounded otherwise


def test_one_more_benchmark_costs_that_benchmark_alone(tiny_base, root, loads, monkeypatch):
    few = {"general": {"arithmetic_mini": {"items": 3}}}
    evaluated(evaluator(tiny_base, root, **few))
    asked = []
    samples = Task.samples
    monkeypatch.setattr(Task, "samples", lambda task, *a: asked.append(task.benchmark.name) or samples(task, *a))
    evaluated(evaluator(tiny_base, root))
    assert asked == ["ifeval_mini"]


def keys(of, run=None):
    return {name: digest(of._decides(name, run)) for name in of.benchmarks}


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation": {"items": 8, "batch_tokens": 500}},
        {"evaluation": {"items": 8, "batch_tokens": 400, "precision": "bfloat16"}},
        {"evaluation": {"items": 8, "batch_tokens": 400, "system_prompt": "Be brief."}},
        {"evaluation": {"items": 8, "batch_tokens": 400, "too_long": "answer"}},
        {"code": "d"},
    ],
)
def test_no_benchmark_is_answered_from_another_setting(tiny_base, root, changes):
    before, after = keys(evaluator(tiny_base, root)), keys(evaluator(tiny_base, root, **changes))
    assert not set(before.values()) & set(after.values())


def test_other_items_or_limits_are_another_evaluation_of_that_benchmark_alone(tiny_base, root):
    before = keys(evaluator(tiny_base, root))
    for options in ({"items": 4}, {"items": 3, "max_new_tokens": 9}):
        after = keys(evaluator(tiny_base, root, general={**STUDY["general"], "arithmetic_mini": options}))
        assert {name for name in before if before[name] != after[name]} == {"arithmetic_mini"}


def test_two_models_with_the_same_weights_are_two_bases_in_the_tables():
    assert base_run_id("thinking", "b" * 64) != base_run_id("answering", "b" * 64)


def test_another_task_version_is_another_evaluation(tiny_base, root):
    of = evaluator(tiny_base, root)
    before = keys(of)["arithmetic_mini"]
    of.benchmarks["arithmetic_mini"]["benchmark"]["version"] = "9.9"
    assert keys(of)["arithmetic_mini"] != before


def test_another_data_file_is_another_evaluation(tiny_base, root):
    before = keys(evaluator(tiny_base, root))
    data.write(root / "data/shop_mini/test.jsonl", domains.kind("shop_mini")().examples("test", 3, 1, {}), {})
    after = keys(evaluator(tiny_base, root))
    assert {name for name in before if before[name] != after[name]} == {"shop_mini"}


@pytest.mark.parametrize(
    "changed",
    [{"date": "2025-01-01"}, {"arguments": {"x": 1}}, {"response_prefix": "So: "}, {"stops": [tiny.END_ID, 256]}],
    ids=str,
)
def test_another_way_to_prompt_is_another_model(tiny_base, root, tmp_path, changed):
    before = set(keys(evaluator(tiny_base, root)).values())
    base = Path(shutil.copytree(tiny_base, tmp_path / "prompted"))
    card = read_json(base / CARD)
    write_json(base / CARD, {**card, "chat": {**card["chat"], **changed}})
    assert not before & set(keys(evaluator(base, root)).values())


def test_another_version_of_a_package_is_another_evaluation(tiny_base, root, monkeypatch):
    before = keys(evaluator(tiny_base, root))
    monkeypatch.setattr(evaluate, "packages", lambda: "torch 9")
    after = keys(evaluator(tiny_base, root))
    assert all(before[name] != after[name] for name in before)


def test_the_packages_are_those_that_are_installed(tiny_base, root):
    assert {f"torch {version('torch')}", f"lm_eval {version('lm_eval')}"} <= set(packages().split(", "))
    assert {row["packages"] for row in evaluated(evaluator(tiny_base, root)).to_pylist()} == {packages()}


def test_the_code_that_forms_a_derived_run_is_in_the_key_and_a_trained_run_s_is_not(tiny_base, root, tmp_path):
    def with_code(code, **more):
        write_json(tmp_path / "run" / CARD, {"run_id": "r", "source_delta_sha256": "a", "code": code, **more})
        return set(keys(evaluator(tiny_base, root), tmp_path / "run").values())

    assert not with_code("c", derived_from="..") & with_code("d", derived_from="..")
    assert with_code("c", delta_sha256="e") == with_code("d", delta_sha256="e")


def test_rendered_prompts_are_in_the_key(tiny_base, root, monkeypatch):
    """Whatever renders them otherwise, another version of a library among it."""
    before = keys(evaluator(tiny_base, root))
    prompt = Chat.prompt
    monkeypatch.setattr(Chat, "prompt", lambda chat, messages: prompt(chat, messages).replace("user", "User"))
    after = keys(evaluator(tiny_base, root))
    assert all(before[name] != after[name] for name in before)


def test_other_weights_or_another_template_are_another_model(tiny_base, root, tmp_path):
    before = set(keys(evaluator(tiny_base, root)).values())
    other = tiny.base_folder(tmp_path / "other", tiny.model(std=0.3))
    assert not before & set(keys(evaluator(other, root)).values())

    templated = evaluator(tiny_base, root)
    templated.chat.tokenizer.chat_template = tiny.BARE
    assert not before & set(keys(templated).values())


def test_the_same_path_with_retrained_weights_is_another_model(tiny_base, root, tmp_path):
    run = tmp_path / "run"
    card = {"run_id": "r", "delta_sha256": "a"}
    write_json(run / CARD, card)
    before = set(keys(evaluator(tiny_base, root), run).values())
    write_json(run / CARD, {**card, "delta_sha256": "b"})
    retrained = set(keys(evaluator(tiny_base, root), run).values())
    assert len(before) == len(retrained) == 3
    assert not before & retrained


def test_how_a_model_was_asked_is_recorded(tiny_base, root):
    of = evaluator(tiny_base, root, evaluation={"items": 8, "batch_tokens": 400, "system_prompt": "Be brief."})
    rows = evaluated(of).to_pylist()
    assert {row["system_prompt"] for row in rows if row["benchmark"] == "arithmetic_mini"} == {"Be brief."}
    assert all("Be brief." in row["prompt"] for row in rows if row["benchmark"] == "arithmetic_mini")
    assert {row["system_prompt"] for row in rows if row["benchmark"] == "shop_mini"} == {None}
    assert {(row["precision"], row["batch_tokens"], row["num_fewshot"]) for row in rows} == {("float32", 400, 0)}
    assert {row["template"] for row in rows} == {digest(of.chat.identity)}
    assert {row["benchmark"]: row["max_new_tokens"] for row in rows} == {
        "shop_mini": 8,
        "arithmetic_mini": 48,
        "ifeval_mini": 48,
    }
    kept = next((root / "evaluations").rglob("*.parquet"))
    assert pq.read_schema(kept).equals(evaluate.SCHEMA)


def test_a_benchmark_of_lm_eval_is_kept_by_its_data_and_task_files(tiny_base, root, tmp_path, loads):
    own = local_tasks.write(tmp_path / "own")
    changes = {
        "general": {"local_by_size": {"items": 6}, "local_words": {"items": "all", "max_new_tokens": 4}},
        "include": str(own),
    }
    of = evaluator(tiny_base, root, **changes)

    def fetch(of):
        for name in changes["general"]:
            harness.fetch(from_json(of.benchmarks[name]["benchmark"]), None, root / f"benchmarks/{name}.json")

    fetch(of)
    first = evaluated(of).to_pylist()
    names = [row["benchmark"] for row in first if row["benchmark"] != "shop_mini"]
    assert Counter(names) == {"local_by_size": 6, "local_words": 7}
    by_name = {row["benchmark"]: row for row in first}
    assert (by_name["local_by_size"]["num_fewshot"], by_name["local_words"]["num_fewshot"]) == (None, 0)
    assert (by_name["local_by_size"]["max_new_tokens"], by_name["local_words"]["max_new_tokens"]) == (None, 4)
    assert evaluated(evaluator(tiny_base, root, **changes)).to_pylist() == first
    assert len(loads) == 1

    (own / "functions.py").write_text((own / "functions.py").read_text().replace("% 2", "% 3"))
    evaluated(evaluator(tiny_base, root, **changes))
    assert len(loads) == 2, "a function beside the task files has changed"

    rows = (own / "local_words.jsonl").read_text()
    (own / "local_words.jsonl").write_text(rows.replace("tree", "trunk"))
    sources.sha256.cache_clear()
    changed = evaluator(tiny_base, root, **changes)
    fetch(changed)
    again = evaluated(changed).to_pylist()
    assert len(loads) == 3, "an item has changed"
    assert {row["target"] for row in again} - {row["target"] for row in first} == {"trunk"}
