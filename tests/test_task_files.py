"""Task files are found and read as by lm-eval, without importing it."""

import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path

import local_tasks
import pytest

from tradeoff.errors import UserError
from tradeoff.evaluation.harness import described, index, tree
from tradeoff.evaluation.harness.tree import Group, expanded, leaves_of, primary_metric


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(local_tasks.write(tmp_path_factory.mktemp("tasks") / "own"))


@pytest.mark.parametrize(
    ("name", "tasks", "metric", "limit"),
    [
        ("hellaswag", 1, "acc", None),
        ("arc_challenge", 1, "acc", None),
        ("winogrande", 1, "acc", None),
        ("truthfulqa_mc2", 1, "acc", None),
        ("medqa_4options", 1, "acc", None),
        ("mmlu", 57, "acc", None),
        ("mmlu_pro", 14, "exact_match,custom-extract", 2048),
        ("bbh", 27, "exact_match,get-answer", 1024),
        ("minerva_math500", 1, "exact_match", 256),
        ("mbpp", 1, "pass_at_1", 256),
        ("gsm8k", 1, "exact_match,strict-match", 256),
        ("ifeval", 1, "prompt_level_strict_acc", 1280),
        ("lambada_openai", 1, "acc", None),
        ("leaderboard", 39, "mean_of_members", None),
        ("ai2_arc", 2, "mean_of_members", None),
    ],
)
def test_what_a_benchmark_of_lm_eval_is_made_of(name, tasks, metric, limit):
    known = described.benchmark(name, name, None, None)
    assert (len(described.tasks(known)), known.metrics, known.max_new_tokens) == (tasks, (metric,), limit)
    assert known.bounded
    assert known.runs_code == (name == "mbpp")


def test_a_perplexity_is_kept_as_its_logarithm_and_is_no_part_of_the_general_score():
    known = described.benchmark("wikitext", "wikitext", None, None)
    assert (known.metrics, known.bounded) == (("log_word_perplexity",), False)
    assert described.benchmark("wikitext", "wikitext", None, "byte_perplexity").metrics == ("log_byte_perplexity",)


def test_a_metric_is_asked_for_by_name_and_filter():
    assert primary_metric(expanded("hellaswag"), "acc_norm") == "acc_norm"
    assert primary_metric(expanded("gsm8k"), "exact_match,flexible-extract") == "exact_match,flexible-extract"
    assert primary_metric(expanded("gsm8k"), "exact_match") == "exact_match,strict-match"
    assert primary_metric(expanded("humaneval"), "pass@1") == "pass@1,create_test"  # a function names it
    assert primary_metric(expanded("mmlu"), "mean_of_members") == "mean_of_members"


@pytest.mark.parametrize(
    ("name", "metric", "told"),
    [
        ("squadv2", None, "is written in Python, not as a task file; name another task"),
        ("wmt16-ro-en", None, "its metric bleu (bleu) is no mean over items, so it has no paired interval"),
        ("hellaswag", "acc_nrm", "metric: hellaswag has no 'acc_nrm'; it has acc, acc_norm"),
        ("pisa_it_llm_judged", None, "shows images or plays sound, and models here read text; name another task"),
        ("helaswag", None, "lm-eval has no task, group or tag 'helaswag'; did you mean 'hellaswag'?"),
    ],
)
def test_what_cannot_be_run_is_told(name, metric, told):
    with pytest.raises(UserError) as error:
        primary_metric(expanded(name), metric)
    assert str(error.value) == told


def test_a_folder_of_ones_own_stands_before_lm_eval(folder):
    assert index.index(folder)["local_choices"].tasks == {"local_choice_a", "local_choice_b"}
    assert "local_text" not in index.index()
    own = Path(folder) / "hellaswag.yaml"
    own.write_text("task: hellaswag\ninclude: local_text.yaml\n")
    index.index.cache_clear()
    index._of_folder.cache_clear()
    try:
        (leaf,) = leaves_of(expanded("hellaswag", folder))
        assert leaf.output_type == "loglikelihood_rolling"
    finally:
        own.unlink()
        index.index.cache_clear()
        index._of_folder.cache_clear()


def test_the_identity_of_a_folder_follows_its_files(folder):
    known = described.benchmark("local_words", "local_words", folder, None)
    before = described.code(known)
    functions = Path(folder) / "functions.py"
    content = functions.read_text()
    functions.write_text(content + "\n")
    assert described.code(known) != before
    functions.write_text(content)
    assert described.code(known) == before
    assert described.files(known) == [f"{folder}/local_words.jsonl"]
    assert described.from_hub(known) == []
    assert described.from_hub(described.benchmark("mmlu", "mmlu", None, None)) == ["cais/mmlu"]


def test_the_index_imports_neither_lm_eval_nor_torch():
    code = "import sys; from tradeoff.evaluation.harness.tree import expanded; expanded('mmlu'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lm_eval", "torch", "datasets", "transformers"} & set(done.stdout.split())


@pytest.mark.slow
def test_every_task_file_of_lm_eval_is_read_as_lm_eval_reads_it(capsys):
    from lm_eval.api import registry
    from lm_eval.tasks import TaskManager

    logging.disable(logging.CRITICAL)
    try:
        theirs = TaskManager().task_index
    finally:
        logging.disable(logging.NOTSET)
    kinds = {"TASK": "task", "PY_TASK": "class", "GROUP": "group", "TAG": "tag"}
    ours = index.index()
    assert {n: (kinds[e.kind.name], e.yaml_path) for n, e in theirs.items()} == {
        n: (e.kind, e.file) for n, e in ours.items()
    }
    assert {n: e.tags for n, e in theirs.items() if e.kind.name == "TAG"} == {
        n: e.tasks for n, e in ours.items() if e.kind == "tag"
    }
    assert {kind: tuple(names) for kind, names in registry.DEFAULT_METRIC_REGISTRY.items()} == tree.DEFAULT_METRICS
    by_function = {registry.aggregation_registry.get(name): name for name in registry.aggregation_registry}
    assert {
        name: (by_function[registry.get_metric_aggregation(name)], registry.is_higher_better(name))
        for name in registry.metric_registry
    } == tree.REGISTERED

    taken, refused = Counter(), Counter()
    for name, entry in ours.items():
        try:
            node = expanded(name)
            tree.bounded(node, primary_metric(node, None))
            taken[entry.kind] += 1
            assert isinstance(node, Group) == (entry.kind in ("group", "tag"))
        except UserError as error:
            refused[entry.kind, next((why for why in REASONS if why in str(error)), f"{name}: {error}")] += 1
    assert {why for _, why in refused} <= set(REASONS)
    with capsys.disabled():
        files = len(index._files(index.library()))
        print(f"\n{files} task files, {len(ours)} names: {sum(taken.values())} can be run")
        for kind, count in sorted(taken.items()):
            print(f"{count:6} {kind}s can be run")
        for (kind, why), count in sorted(refused.items(), key=lambda item: -item[1]):
            print(f"{count:6} {kind}{'es' if kind == 'class' else 's'} are refused: {why}")
    assert taken["task"] / (taken["task"] + sum(n for (kind, _), n in refused.items() if kind == "task")) > 0.9


REASONS = (
    "is written in Python",
    "is no mean over items",
    "samples its answers",
    "asks every question several times",
    "shows images or plays sound",
    "has the output type",
    "names no data set",
    "which is no task",
    "without a task or group",
)
