"""Generation: what the model alone would write, whatever the batch and the generation config; stops, and no room."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from transformers import GenerationConfig

from tradeoff.errors import UserError
from tradeoff.evaluation import lm
from tradeoff.evaluation.lm import GreedyLM, respond
from tradeoff.models import generation
from tradeoff.models.chat import Chat
from tradeoff.models.generation import drawn, generate

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


def cut(driven):
    return {number for (_, number), response in driven.responses.items() if response.truncated}


def request(text, number, **options):
    return SimpleNamespace(args=(text, {"until": [], "max_gen_toks": 6} | options), task_name="t", doc_id=number)


def test_responses_come_in_the_order_of_the_requests_and_truncation_is_noted(tiny_model):
    tokenizer = tiny.tokenizer()
    chat = Chat(tokenizer)
    driven = GreedyLM(tiny_model, chat, 2)
    texts = ["a", "a longer prompt", "bc", "hello"]
    whole = [alone(tiny_model, tokenizer(t)["input_ids"], 6, [tiny.END_ID]) for t in texts]
    expected = [tokenizer.decode(w, skip_special_tokens=True) for w in whole]
    assert driven.generate_until([request(t, n) for n, t in enumerate(texts)]) == expected
    assert cut(driven) == {n for n, w in enumerate(whole) if w[-1] != tiny.END_ID}

    stop = expected[0][1]
    driven = GreedyLM(tiny_model, chat, 2)
    assert driven.generate_until([request(texts[0], 0, until=[stop])]) == [expected[0].split(stop)[0]]
    assert cut(driven) == set()


def test_sampling_is_refused(tiny_model):
    with pytest.raises(UserError, match="do_sample"):
        GreedyLM(tiny_model, Chat(tiny.tokenizer()), 1).generate_until([request("a", 0, do_sample=True)])


def test_generation_stops_at_a_stop_string(tiny_model, monkeypatch):
    chat, limit = Chat(tiny.tokenizer()), 40
    texts = ["a", "a longer prompt", "bc", "hello"]
    prompts = [chat.prompt_ids(chat.prompt([{"role": "user", "content": t}])) for t in texts]
    whole = [alone(tiny_model, ids, limit, [tiny.END_ID]) for ids in prompts]
    stop = chat.tokenizer.decode(whole[0][9:11])
    asked = [chat.prompt([{"role": "user", "content": t}]) for t in texts]
    written = []
    monkeypatch.setattr(lm, "generate", lambda *a, **o: written.extend(found := generate(*a, **o)) or found)
    responses = respond(tiny_model, chat, asked, limit, 4, (stop,))
    for response, ids in zip(responses, whole, strict=True):
        text = chat.tokenizer.decode(ids, skip_special_tokens=True)
        assert response.text == text.split(stop)[0]
        assert response.truncated == (stop not in text and ids[-1] != tiny.END_ID)
    ended = [ids for ids in written if stop in chat.tokenizer.decode(ids, skip_special_tokens=True)]
    assert ended
    for ids in ended:  # it stopped with the string's last token
        assert stop not in chat.tokenizer.decode(ids[:-1], skip_special_tokens=True)


def test_a_base_without_a_template_does_not_write_to_its_limit(tiny_model):
    """Its answer to a benchmark ends where the next question of its own would begin."""
    chat = Chat(tiny.tokenizer(None))
    (whole,) = respond(tiny_model, chat, ["Answer:"], 60, 1)
    (cut_short,) = respond(tiny_model, chat, ["Answer:"], 60, 1, (whole.text[10:12],))
    assert whole.answer_tokens == 60
    assert cut_short.answer_tokens <= 13
    assert not cut_short.truncated


def test_sampled_text_is_the_model_s_own_whatever_its_generation_config_says(tiny_model):
    prompts = [[1, 2, 3], [4, 5]]
    plain = generate(tiny_model, prompts, [30, 30], [tiny.END_ID], tiny.END_ID, drawn(3))
    greedy = generate(tiny_model, prompts, [30, 30], [tiny.END_ID], tiny.END_ID)
    tiny_model.generation_config = GenerationConfig(
        do_sample=True,
        min_p=0.9,
        top_k=1,
        num_beams=3,
        no_repeat_ngram_size=1,
        repetition_penalty=5.0,
        temperature=0.01,
    )
    assert generate(tiny_model, prompts, [30, 30], [tiny.END_ID], tiny.END_ID, drawn(3)) == plain != greedy
    assert generate(tiny_model, prompts, [30, 30], [tiny.END_ID], tiny.END_ID) == greedy


def test_draws_have_the_model_s_probabilities():
    p_V = torch.tensor([0.5, 0.25, 0.125, 0.125])
    choose = drawn(0)
    counts = torch.stack([choose(p_V.log().expand(64, 4)) for _ in range(500)]).flatten().bincount(minlength=4)
    torch.testing.assert_close(counts / counts.sum(), p_V, rtol=0, atol=0.01)


def test_a_prompt_that_leaves_no_room_is_counted_and_not_asked(tiny_model):
    chat = Chat(tiny.tokenizer(None))
    prompts = ["a" * 40, "ab", "a" * 29]
    found = respond(tiny_model, chat, prompts, 8, 2, context=32)
    assert [r.too_long for r in found] == [True, False, False]
    assert (found[0].text, found[0].answer_tokens) == ("", 0)
    free = respond(tiny_model, chat, prompts, 8, 2)
    assert not any(r.too_long for r in free)
    assert found[1] == free[1]  # a long neighbour takes nothing from it
    assert found[2].answer_tokens <= 3
    assert free[2].text.startswith(found[2].text)


def test_a_long_prompt_is_read_in_parts_and_gives_the_same(tiny_model, monkeypatch):
    prompts = [[n % 200 for n in range(50)], [7] * 23]
    expected = generate(tiny_model, prompts, [6, 6], [], tiny.END_ID)
    read = []
    forward = tiny_model.forward
    monkeypatch.setattr(tiny_model, "forward", lambda *a, **o: read.append(o["input_ids"].shape[1]) or forward(*a, **o))
    monkeypatch.setattr(generation, "READ_AT_ONCE", 16)
    assert generate(tiny_model, prompts, [6, 6], [], tiny.END_ID) == expected
    assert max(read) == 16
