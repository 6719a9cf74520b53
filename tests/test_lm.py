"""Generation: what the model alone would write, whatever the batch and the generation config; stops, and no room."""

from functools import partial

import pytest
import tiny
import torch
from transformers import GenerationConfig

from tradeoff.evaluation import lm
from tradeoff.evaluation.lm import Question, respond, response_of
from tradeoff.models import generation
from tradeoff.models.chat import Chat
from tradeoff.models.generation import Prompt, drawn, generate, score, shared_opening
from tradeoff.training.tokens import Sequence

PROMPTS = {
    "one": ["hello"],
    "the same": ["hello", "hello"],
    "a shared opening": ["one and two", "one and three plus", "one"],
    "nothing shared": ["a", "bcd", "efghijk lmnop"],
}


def questions(prompts, limit):
    return [Prompt(ids, limit, shared_opening(prompts)) for ids in prompts]


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
    for budget in (1, 60, 10_000):  # one row at a time, rows that are replaced, all at once
        assert generate(model, questions(prompts, 20), ends, tiny.END_ID, budget) == expected
    assert len(expected[0]) <= 4


def asked(model, chat, texts, limit, until=(), context=None, batch_tokens=100):
    """Responses to texts as they are."""
    engine = partial(generate, model, ends=chat.ends, pad_id=chat.pad_id, batch_tokens=batch_tokens)
    (responses,) = respond(engine, chat, [[Question(text, limit, until) for text in texts]], context)
    return responses


def test_responses_come_in_the_order_of_the_questions_and_truncation_is_noted(tiny_model):
    tokenizer = tiny.tokenizer()
    texts = ["a", "a longer prompt", "bc", "hello"]
    whole = [alone(tiny_model, tokenizer(t)["input_ids"], 6, [tiny.END_ID]) for t in texts]
    found = asked(tiny_model, Chat(tokenizer), texts, 6)
    assert [r.text for r in found] == [tokenizer.decode(w, skip_special_tokens=True) for w in whole]
    assert [r.truncated for r in found] == [w[-1] != tiny.END_ID for w in whole]

    stop = found[0].text[1]
    (stopped,) = asked(tiny_model, Chat(tokenizer), texts[:1], 6, (stop,))
    assert stopped.text == found[0].text.split(stop)[0]
    assert not stopped.truncated


def test_each_benchmark_is_told_once_it_has_all_its_responses(tiny_model):
    """Of three in one queue, the second without a prompt that fits."""
    chat, told = Chat(tiny.tokenizer(None)), []
    groups = [[Question(text, 4) for text in texts] for texts in (["a", "bcd"], ["e" * 40], ["f", "gh", "i"])]
    engine = partial(generate, tiny_model, ends=chat.ends, pad_id=chat.pad_id, batch_tokens=20)
    found = respond(engine, chat, groups, 32, lambda group, responses: told.append((group, list(responses))))
    assert dict(told) == dict(enumerate(found))
    assert sorted(group for group, _ in told) == [0, 1, 2]
    assert all(len(of) == len(questions) for of, questions in zip(found, groups, strict=True))


def test_generation_stops_at_a_stop_string(tiny_model, monkeypatch):
    chat, limit = Chat(tiny.tokenizer()), 40
    texts = ["a", "a longer prompt", "bc", "hello"]
    prompts = [chat.prompt_ids(chat.prompt([{"role": "user", "content": t}])) for t in texts]
    whole = [alone(tiny_model, ids, limit, [tiny.END_ID]) for ids in prompts]
    stop = chat.tokenizer.decode(whole[0][9:11])
    written = []
    monkeypatch.setattr(lm, "response_of", lambda chat, ids, *a: written.append(ids) or response_of(chat, ids, *a))
    responses = asked(tiny_model, chat, [chat.prompt([{"role": "user", "content": t}]) for t in texts], limit, (stop,))
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
    (whole,) = asked(tiny_model, chat, ["Answer:"], 60)
    (cut_short,) = asked(tiny_model, chat, ["Answer:"], 60, (whole.text[10:12],))
    assert whole.answer_tokens == 60
    assert cut_short.answer_tokens <= 13
    assert not cut_short.truncated


def test_sampled_text_is_the_model_s_own_whatever_its_generation_config_says(tiny_model):
    prompts = [Prompt([1, 2, 3], 30), Prompt([4, 5], 30)]
    plain = generate(tiny_model, prompts, [tiny.END_ID], tiny.END_ID, choose=drawn(3))
    greedy = generate(tiny_model, prompts, [tiny.END_ID], tiny.END_ID)
    tiny_model.generation_config = GenerationConfig(
        do_sample=True,
        min_p=0.9,
        top_k=1,
        num_beams=3,
        no_repeat_ngram_size=1,
        repetition_penalty=5.0,
        temperature=0.01,
    )
    assert generate(tiny_model, prompts, [tiny.END_ID], tiny.END_ID, choose=drawn(3)) == plain != greedy
    assert generate(tiny_model, prompts, [tiny.END_ID], tiny.END_ID) == greedy
    one_by_one = generate(tiny_model, prompts, [tiny.END_ID], tiny.END_ID, 1, drawn(3))
    assert one_by_one == plain  # a prompt's draws are its own, whatever is asked beside it


def test_draws_have_the_model_s_probabilities():
    p_V = torch.tensor([0.5, 0.25, 0.125, 0.125])
    choose = drawn(0)
    counts = (
        torch.stack([choose(p_V.log().expand(64, 4), range(64)) for _ in range(500)]).flatten().bincount(minlength=4)
    )
    torch.testing.assert_close(counts / counts.sum(), p_V, rtol=0, atol=0.01)


def test_a_prompt_that_leaves_no_room_is_counted_and_not_asked(tiny_model):
    chat = Chat(tiny.tokenizer(None))
    prompts = ["a" * 40, "ab", "a" * 29]
    found = asked(tiny_model, chat, prompts, 8, context=32)
    assert [r.too_long for r in found] == [True, False, False]
    assert (found[0].text, found[0].answer_tokens) == ("", 0)
    free = asked(tiny_model, chat, prompts, 8)
    assert not any(r.too_long for r in free)
    assert found[1] == free[1]  # a long neighbour takes nothing from it
    assert found[2].answer_tokens <= 3
    assert free[2].text.startswith(found[2].text)


def tokens_read(model, monkeypatch):
    """How many tokens each call of the decoder reads, padding included."""
    read = []
    forward = type(model.model).forward
    monkeypatch.setattr(
        model.model, "forward", lambda *a, **o: read.append(o["input_ids"].numel()) or forward(model.model, *a, **o)
    )
    return read


def test_a_long_prompt_is_read_in_parts_and_gives_the_same(tiny_model, monkeypatch):
    prompts = [Prompt([n % 200 for n in range(50)], 6), Prompt([7] * 23, 6)]
    expected = generate(tiny_model, prompts, [], tiny.END_ID)
    read = tokens_read(tiny_model, monkeypatch)
    monkeypatch.setattr(generation, "READ_AT_ONCE", 16)
    assert generate(tiny_model, prompts, [], tiny.END_ID) == expected
    assert max(read) == 16


def test_a_shared_opening_is_read_once(tiny_model, monkeypatch):
    opening = list(range(40))
    prompts = [Prompt([*opening, n], 3, 40) for n in range(12)]
    expected = [alone(tiny_model, p.ids, 3, []) for p in prompts]
    read = tokens_read(tiny_model, monkeypatch)
    assert generate(tiny_model, prompts, [], tiny.END_ID, batch_tokens=44 * 4) == expected
    assert sum(read) == 40 + 12 * 3
    read.clear()
    asked = [Prompt(p.ids, 3, 40, expected=[[5, 6]]) for p in prompts]  # its prompt's last token and its first are read
    assert generate(tiny_model, asked, [], tiny.END_ID, batch_tokens=44 * 4) == expected
    assert sum(read) == 40 + 12 * 3 + 12 * 2


def test_rows_that_have_ended_give_their_place_to_others(tiny_model, monkeypatch):
    """Twelve answers of which two are long take little more steps than the long ones."""
    prompts = [Prompt([n, n + 1], 40 if n < 2 else 4) for n in range(12)]
    steps = []
    step = generation._Batch.step
    monkeypatch.setattr(generation._Batch, "step", lambda batch: steps.append(len(batch._active())) or step(batch))
    generate(tiny_model, prompts, [], tiny.END_ID, batch_tokens=42 * 4)
    assert len(steps) == 40
    assert sum(steps) == 2 * 40 + 10 * 4


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_likelihoods_are_the_model_s_own(tiny_model, batch_tokens):
    """Several continuations of one prompt, of a prompt of one token, and of none that is shared."""
    prompts, texts = [[1, 2, 3]] * 3 + [[9]] * 2 + [[1, 2, 4, 5, 6]], [[1, 2, 3], [4], [5, 6], [7], [8, 9, 10], [3]]
    found = score(
        tiny_model,
        [Sequence(str(n), (*p, *t), len(p)) for n, (p, t) in enumerate(zip(prompts, texts, strict=True))],
        tiny.END_ID,
        batch_tokens,
    )
    for prompt, text, scored in zip(prompts, texts, found, strict=True):
        logits_TV = tiny_model(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
        nll_T = torch.nn.functional.cross_entropy(logits_TV, torch.tensor(text), reduction="none")
        torch.testing.assert_close(scored.nll_T, nll_T, rtol=1e-5, atol=1e-5)
        assert scored.greedy == bool((logits_TV.argmax(-1) == torch.tensor(text)).all())
