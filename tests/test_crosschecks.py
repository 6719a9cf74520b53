"""Cross-checks with other programs that take seconds; `make crosscheck` runs them all, with a real model."""

import sys
from pathlib import Path

import families
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.tasks._yaml_loader import load_yaml

CHECKS = Path(__file__).parents[1] / "benchmarks"
sys.path += [str(CHECKS), str(CHECKS / "crosscheck")]

import classes  # noqa: E402
import lm_tasks  # noqa: E402
import merged  # noqa: E402
import rows  # noqa: E402
import run  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_scores_of_answers_are_scikit_learn_s(draw):
    """With classes that are only asked for, only given, and answers that name none."""
    right, said = classes.drawn(draw)
    ours, theirs = classes.measured(right, said), classes.by_sklearn(right, said)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert ours[name] == pytest.approx(theirs[name], abs=classes.ROUNDING)
    if classes.NONE not in said:
        assert ours["macro_f1"] == pytest.approx(theirs["macro_f1 by default"], abs=classes.ROUNDING)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3_moe", "qwen3_next"])
def test_a_merged_lora_is_peft_s(family):
    of_weights, of_logits, of_adapter, size = merged.compared(families.model(family))
    assert of_weights <= merged.OF_WEIGHTS
    assert max(of_logits, of_adapter) <= merged.OF_LOGITS
    assert size["largest_change_of_logits"] > 0.1
    assert bool(size["not_adapted_by_PeftModel"]) == (family == "qwen3_next")


def test_lm_eval_s_tasks_are_its_own_but_for_the_place_of_their_data(tmp_path):
    lm_tasks.write(tmp_path, {name: [] for name in lm_tasks.DATA})
    for name, own, changed in (
        ("own_gsm8k", "gsm8k/gsm8k", set()),
        ("own_gsm8k_first", "gsm8k/gsm8k", {"fewshot_config"}),
        ("own_ifeval", "ifeval/ifeval", set()),
        ("own_humaneval", "humaneval/humaneval", set()),
        ("own_humaneval_instruct", "humaneval/humaneval_instruct", set()),
    ):
        made = load_yaml(tmp_path / "tasks" / f"{name}.yaml", resolve_func=False)
        original = load_yaml(lm_tasks.OWN / f"{own}.yaml", resolve_func=False)
        differ = {key for key in {*made, *original} if made.get(key) != original.get(key)}
        assert differ - {"task", "tag", "dataset_path", "dataset_name", "dataset_kwargs"} == changed


def test_a_difference_without_a_cause_is_told():
    given = [rows.of_numbers("a", "b", "c", [0.0, 2.0, float("nan")], 1.0, why) for why in (None, "it rounds")]
    assert [row.differ for row in given] == [2, 2]
    assert [row.unexplained for row in given] == [2, 0]
    table = run.table([*given, rows.Row("d", "b", "score", 4, 1, reasons={rows.UNEXPLAINED: 1})])
    assert "| 3 | 2 |" in table
    assert "2 unexplained" in table
    assert "2 by 1" in table
    assert "1 unexplained" in table
    assert table.endswith("1. it rounds")
