"""Greedy generation under lm-eval: what the model alone would write, whatever the batch, and truncation noted."""

from types import SimpleNamespace

import pytest
import tiny
import torch

from tradeoff.errors import UserError
from tradeoff.evaluation.lm import GreedyLM
from tradeoff.models.chat import Chat
from tradeoff.models.generation import generate

PROMPTS = {
    "one": ["hello"],
    "the same": ["hello", "hello"],
    "a shared opening": ["one and two", "one and three plus", "one"],
    "nothing shared": ["a", "bcd", "efghijk lmnop"],
}


def alone(model, ids, limit, ends):
    """The textbook loop, without cache, batch or padding."""
    written = []
    while len(written) < limit and not set(written) & set(ends):
        written.append(model(torch.tensor([ids + written])).logits[0, -1].argmax().item())
    return written


@pytest.mark.parametrize("texts", PROMPTS.values(), ids=PROMPTS.keys())
def test_a_batch_is_continued_as_each_prompt_alone(texts):
    model, tokenizer = tiny.model().double(), tiny.tokenizer()
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    ends = sorted({alone(model, prompts[0], 8, [])[3], tiny.END_ID})  # one row ends early, and may leave the batch
    expected = [alone(model, prompt, 20, ends) for prompt in prompts]
    assert generate(model, prompts, [20] * len(prompts), ends, tiny.END_ID) == expected
    assert len(expected[0]) <= 4


def cut(lm):
    return {number for (_, number), response in lm.responses.items() if response.truncated}


def request(text, number, **options):
    return SimpleNamespace(args=(text, {"until": [], "max_gen_toks": 6} | options), task_name="t", doc_id=number)


def test_responses_come_in_the_order_of_the_requests_and_truncation_is_noted(tiny_model):
    tokenizer = tiny.tokenizer()
    chat = Chat(tokenizer)
    lm = GreedyLM(tiny_model, chat, 2)
    texts = ["a", "a longer prompt", "bc", "hello"]
    whole = [alone(tiny_model, tokenizer(t)["input_ids"], 6, [tiny.END_ID]) for t in texts]
    expected = [tokenizer.decode(w, skip_special_tokens=True) for w in whole]
    assert lm.generate_until([request(t, n) for n, t in enumerate(texts)]) == expected
    assert cut(lm) == {n for n, w in enumerate(whole) if w[-1] != tiny.END_ID}

    stop = expected[0][1]
    lm = GreedyLM(tiny_model, chat, 2)
    assert lm.generate_until([request(texts[0], 0, until=[stop])]) == [expected[0].split(stop)[0]]
    assert cut(lm) == set()


def test_sampling_is_refused(tiny_model):
    with pytest.raises(UserError, match="do_sample"):
        GreedyLM(tiny_model, Chat(tiny.tokenizer()), 1).generate_until([request("a", 0, do_sample=True)])
