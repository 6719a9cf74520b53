"""Choices that are scored by likelihood: outcomes are those of lm-eval with its own model object, item by item."""

from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tradeoff import domains
from tradeoff.evaluation import TASKS, general, of_domain
from tradeoff.evaluation.lm import respond
from tradeoff.evaluation.measurement import DomainTest
from tradeoff.evaluation.task import Task
from tradeoff.models.chat import Chat
from tradeoff.models.generation import generate, score

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


@pytest.mark.parametrize("context", [None, 900, 200])
@torch.no_grad()
def test_the_right_label_s_probability_is_that_among_all_labels(tiny_model, context):
    """With a context of 200 tokens some prompts are cut at their beginning, and such items are not asked."""
    domain, chat = domains.kind("shop_mini")(metric="p_right", max_new_tokens=4), Chat(tiny.tokenizer())
    assert [metric.name for metric in domain.metrics] == ["p_right", "balanced_accuracy", "accuracy"]
    asked = DomainTest(of_domain("shop_mini", domain), domain, domain.examples("test", 12, 0, {}), chat, context)
    engine = partial(generate, tiny_model, ends=chat.ends, pad_id=chat.pad_id)
    (responses,) = respond(engine, chat, [asked.questions], context)
    samples = asked.samples(responses, score(tiny_model, asked.sequences, chat.pad_id))
    assert (context == 200) == bool(asked.sequences)
    for example, sample in zip(asked.examples, samples, strict=True):
        likely = {}
        for label in domain.labels:
            sequence = chat.encode(replace(example, response=label))
            ids = sequence.ids[-context:] if context else sequence.ids
            logits_TV = tiny_model(torch.tensor([ids])).logits[0, -sequence.targets - 1 : -1]
            likely[label] = logits_TV.log_softmax(-1).gather(1, torch.tensor(ids[-sequence.targets :])[:, None]).sum()
        among = torch.stack(list(likely.values())).softmax(0)[list(likely).index(example.response)]
        assert sample.values["p_right"] == pytest.approx(among.item(), abs=1e-5)
        assert sample.values["code_length"] == pytest.approx(
            -likely[example.response].item() / len(sample.token_nll), abs=1e-5
        )
