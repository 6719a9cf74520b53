"""Choices that are scored by likelihood: outcomes are those of lm-eval with its own model object, item by item."""

import pytest
import tiny
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tradeoff.evaluation import TASKS, general
from tradeoff.evaluation.task import Task
from tradeoff.models.chat import Chat
from tradeoff.models.generation import score

ITEMS = 12


@pytest.mark.parametrize("template", [tiny.CHATML, None])
def test_choices_are_scored_as_by_lm_eval(tiny_model, template):
    chat, settings = Chat(tiny.tokenizer(template)), {"seed": 0, "system_prompt": None}
    asked = Task(general("knowledge_mini"), ITEMS, {}, chat, None, settings)
    assert asked.questions == []
    assert len(asked.sequences) == 4 * ITEMS
    scored = score(tiny_model, asked.sequences, tiny.END_ID, 500)
    found = asked.samples([], scored)

    known = HFLM(pretrained=tiny_model, tokenizer=tiny.tokenizer(template), batch_size=4)
    drawn = {"count": ITEMS, "seed": 0, "files": {}, "chat": template is not None}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=drawn)
    options = {"apply_chat_template": template is not None, "bootstrap_iters": 0, "verbosity": "ERROR"}
    results = simple_evaluate(known, tasks=["knowledge_mini"], task_manager=manager, log_samples=True, **options)
    rows = sorted(results["samples"]["knowledge_mini"], key=lambda row: row["doc_id"])
    likelihoods = [response[0][0] for row in rows for response in row["resps"]]
    assert [-one.nll_T.sum().item() for one in scored] == pytest.approx(likelihoods, abs=1e-3)
    for sample, row in zip(found, rows, strict=True):
        for metric in row["metrics"]:
            assert sample.values[metric] == pytest.approx(row[metric], abs=1e-5), metric
        assert sample.response in {arguments[1].strip() for arguments in row["arguments"]}
        assert not sample.invalid
