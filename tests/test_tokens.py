"""Examples to tokens: one end, one begin, the same prompt everywhere, nothing masked or trained by accident."""

from dataclasses import replace
from itertools import chain

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from tradeoff import data
from tradeoff.domains import Example
from tradeoff.errors import UserError
from tradeoff.evaluation import general, lm, task
from tradeoff.models.base import MODEL, load_base
from tradeoff.models.chat import Chat
from tradeoff.provenance import CARD, read_json, write_json
from tradeoff.training import base_nll, batches, tokens
from tradeoff.training.encode import encode as encode_file

END_TURN = {
    "pad is eos is end of turn": {},
    "eos is another, end of turn is named": {"eos": tiny.TEXT_END, "extra_special_tokens": [tiny.START, tiny.END]},
    "eos is another, end of turn is not named": {"eos": tiny.TEXT_END},
}
THINKING = tiny.TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
BEGIN_TEMPLATE = "{{ bos_token }}" + tiny.CHATML


def example(prompt="hi", response="yes", number=0):
    return Example(f"train-{number:05}", ({"role": "user", "content": prompt},), response, {})


def supervised(tokenizer, sequence):
    return tokenizer.decode(sequence.ids[sequence.prompt_length :])


# End of turn


@pytest.mark.parametrize("options", END_TURN.values(), ids=END_TURN.keys())
@pytest.mark.parametrize("ending", ["", tiny.END, tiny.END * 2])
def test_the_end_of_turn_is_supervised_exactly_once(options, ending):
    tokenizer = tiny.tokenizer(**options)
    sequence = Chat(tokenizer).encode(example(response="yes" + ending))
    assert supervised(tokenizer, sequence) == "yes" + tiny.END
    assert sequence.targets == 4


@pytest.mark.parametrize("response", ["yes", "yes" + tiny.TEXT_END])
def test_without_a_chat_template_the_end_token_is_supervised_exactly_once(response):
    tokenizer = tiny.tokenizer(template=None, eos=tiny.TEXT_END)
    sequence = Chat(tokenizer).encode(example(response=response))
    assert tokenizer.decode(sequence.ids[: sequence.prompt_length]) == "hi\n"
    assert supervised(tokenizer, sequence) == "yes" + tiny.TEXT_END


def test_padding_with_the_end_token_masks_padding_alone(tiny_tokenizer):
    assert tiny_tokenizer.pad_token_id == tiny_tokenizer.eos_token_id
    chat = Chat(tiny_tokenizer)
    found = [chat.encode(example(response=text)) for text in ("yes", "a longer answer")]
    batch = batches.collate([0, 1], found, tiny_tokenizer.pad_token_id)
    for row, sequence in enumerate(found):
        ids = batch.ids_BL[row][batch.supervised_BL[row]].tolist()
        assert ids == list(sequence.ids[sequence.prompt_length :])
        assert ids.count(tiny.END_ID) == 1
    assert batch.sequence_T.tolist() == [0] * 4 + [1] * 16


def test_the_end_token_of_a_base_with_the_same_padding_learns_as_input_too(tiny_base, tiny_model):
    model, ids = load_base(tiny_base), torch.tensor([[10, tiny.END_ID, 11]])
    for of in (model, tiny_model):
        of(ids, labels=ids).loss.backward()
    assert model.config.pad_token_id == tiny.END_ID
    assert torch.equal(model.get_input_embeddings().weight.grad, tiny_model.get_input_embeddings().weight.grad)


# Begin token


@pytest.mark.parametrize(
    ("begins", "template", "expected"),
    [
        (True, BEGIN_TEMPLATE, 1),
        (True, tiny.CHATML, 1),
        (True, None, 1),
        (False, tiny.CHATML, 0),
        (False, None, 0),
    ],
)
def test_training_evaluation_and_base_losses_read_the_same_prompt_with_one_begin_token_at_most(
    begins, template, expected, tiny_model, monkeypatch
):
    tokenizer = tiny.tokenizer(template, begins=begins)
    question = example("test")
    chat = Chat(tokenizer)
    sequence = chat.encode(question)
    prompt = list(sequence.ids[: sequence.prompt_length])
    assert sequence.ids.count(256) == prompt[:1].count(256) == expected

    text = chat.prompt(question.messages) if template else "test\n"
    read = []
    lm.respond(lambda *, prompts, **_: read.extend(list(p.ids) for p in prompts), chat, [[lm.Question(text, 1)]])
    assert read == [prompt]

    (nll_T,) = base_nll.token_losses(tiny_model, [sequence], tokenizer.pad_token_id, 100, "float32", "base losses")
    answer = list(sequence.ids[len(prompt) :])
    logits_LV = tiny_model(torch.tensor([prompt + answer])).logits[0]
    naive_T = -logits_LV.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0]
    torch.testing.assert_close(nll_T, naive_T)


@pytest.mark.parametrize(("begins", "template"), [(True, BEGIN_TEMPLATE), (True, tiny.CHATML), (False, tiny.CHATML)])
def test_a_benchmark_under_lm_eval_reads_one_begin_token_at_most(begins, template):
    settings = {"seed": 0, "system_prompt": None}
    tokenizer = tiny.tokenizer(template, begins=begins)
    chat = Chat(tokenizer)
    asked = task.Task(general("arithmetic_mini"), 2, {}, chat, None, settings)
    assert len(asked.questions) == len(asked.prompts) == 2
    for question in asked.questions:
        prompt = chat.prompt_ids(question.prompt)
        assert prompt.count(256) == prompt[:1].count(256) == begins
        assert tokenizer.decode(prompt).endswith(f"{tiny.START}assistant\n")
    rows = asked.samples([lm.Response("12"), lm.Response("no")], [])
    assert [row.response for row in rows] == ["12", "no"]


@pytest.mark.parametrize("options", [{"do_sample": True}, {"do_sample": None, "temperature": 0.7}])
def test_sampling_is_refused(options):
    asked = task.Task(
        general("arithmetic_mini"), 1, {}, Chat(tiny.tokenizer()), None, {"seed": 0, "system_prompt": None}
    )
    asked._loaded["arithmetic_mini"].set_config("generation_kwargs", options, update=True)
    with pytest.raises(UserError, match="do_sample"):
        _ = asked.questions


# The prompt's mask


def test_a_chat_template_supervises_the_response_and_nothing_of_the_prompt(tiny_tokenizer):
    sequence = Chat(tiny_tokenizer).encode(example())
    prompt = f"{tiny.START}user\nhi{tiny.END}\n{tiny.START}assistant\n"
    assert tiny_tokenizer.decode(sequence.ids[: sequence.prompt_length]) == prompt
    assert supervised(tiny_tokenizer, sequence) == "yes" + tiny.END


def test_a_generation_prompt_that_is_no_prefix_stops_and_names_the_example():
    with pytest.raises(UserError, match=r"train-00007.*ends a prompt with .* add chat_template"):
        Chat(tiny.tokenizer(THINKING)).encode(example(number=7))


@pytest.mark.parametrize(
    ("template", "merge", "prompt"), [(tiny.BARE, ("=", "2"), "1+1="), (None, ("Ċ", "2"), "1+1=\n")]
)
def test_a_token_across_the_boundary_is_split_and_counted(template, merge, prompt, tmp_path, tiny_model):
    tokenizer = tiny.tokenizer(template, merges=(merge,))
    examples = [example("1+1=", "2"), example("1+1=", "3")]
    chat = Chat(tokenizer)
    sequence = chat.encode(examples[0])
    assert tokenizer.decode(sequence.ids[: sequence.prompt_length]) == prompt
    assert supervised(tokenizer, sequence) == "2" + tiny.END
    assert [chat.encode_and_compare(e)[1] for e in examples] == [True, False]

    tiny_model.save_pretrained(tmp_path / "base" / MODEL)
    tokenizer.save_pretrained(tmp_path / "base" / MODEL)
    known = {**chat.identity, "stops": []}
    write_json(tmp_path / "base" / CARD, {"files": {}, "chat": known, "context": None})
    data.write(tmp_path / "train.jsonl", examples, {})
    encode_file(tmp_path / "base", tmp_path / "train.jsonl", 64, tmp_path / "tokens.parquet")
    card = read_json(tmp_path / "tokens.json")
    assert card["merged_at_boundary"] == 1
    assert card["supervised_tokens"] == 4
    assert tokens.read(tmp_path / "tokens.parquet")[0] == sequence


def test_examples_that_are_too_long_are_dropped_and_counted_and_none_left_stops(tiny_base, tmp_path):
    data.write(tmp_path / "train.jsonl", [example(response="y" * n) for n in (1, 50)], {})
    encode_file(tiny_base, tmp_path / "train.jsonl", 50, tmp_path / "tokens.parquet")
    assert read_json(tmp_path / "tokens.json")["dropped_too_long"] == 1
    assert pq.read_table(tmp_path / "tokens.parquet").num_rows == 1
    with pytest.raises(UserError, match="max_length"):
        encode_file(tiny_base, tmp_path / "train.jsonl", 8, tmp_path / "none.parquet")


def test_several_supervised_turns_are_one_sequence_with_a_mask_between_them(tmp_path, tiny_tokenizer):
    turns = [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "yes"),
        ("user", "why?"),
        ("assistant", "so"),
        ("user", "no"),
    ]
    messages = tuple({"role": role, "content": text} for role, text in turns)
    chat, asked = Chat(tiny_tokenizer), Example("train-00001", messages, "ok", {}, all_turns=True)
    data.write(tmp_path / "train.jsonl", [asked], {})
    assert data.read(tmp_path / "train.jsonl") == [asked]
    sequence, merges = chat.encode_and_compare(asked)
    learned = tiny_tokenizer.decode([sequence.ids[place] for place in sequence.supervised])
    assert learned == f"yes{tiny.END}so{tiny.END}ok{tiny.END}"
    assert not merges
    last = chat.encode(replace(asked, all_turns=False))
    assert (last.ids, last.masked, last.targets) == (sequence.ids, (), 3)
    tokens.write(tmp_path / "tokens.parquet", [sequence, last])
    assert tokens.read(tmp_path / "tokens.parquet") == [sequence, last]


@given(st.lists(st.tuples(st.text("ab\n =2é", min_size=1), st.text("ab\n =2é", min_size=1)), min_size=1, max_size=4))
@pytest.mark.parametrize("options", [{}, {"template": None}, {"merges": (("=", "2"), ("Ċ", "2"), ("a", "b"))}])
def test_every_supervised_turn_begins_where_its_prompt_ends(options, pairs):
    chat = Chat(tiny.tokenizer(**options))
    turns = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    asked = Example("train-00001", tuple(turns[:-1]), turns[-1]["content"], {}, all_turns=True)
    sequence, merges = chat.encode_and_compare(asked)
    supervised = set(sequence.supervised)
    begins = [place for place in supervised if place - 1 not in supervised]
    assert len(begins) == len(pairs)
    for place, begin in zip(range(1, len(turns), 2), sorted(begins), strict=True):
        prompt = chat.prompt_ids(chat.prompt(turns[:place]))
        assert merges or list(sequence.ids[:begin]) == prompt
        assert chat.tokenizer.decode(sequence.ids[:begin]) == chat.tokenizer.decode(prompt)


# Steps and micro-batches


def test_every_epoch_visits_each_sequence_once_in_an_order_of_its_own_and_the_seed_s():
    found = list(batches.steps(10, 4, 3, seed=1))
    assert [len(step) for step in found] == [4, 4, 2] * 3
    assert len(found) == batches.number_of_steps(10, 4, 3)
    epochs = [list(chain(*found[i : i + 3])) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert found == list(batches.steps(10, 4, 3, seed=1)) != list(batches.steps(10, 4, 3, seed=2))


@given(st.lists(st.integers(2, 50), min_size=1, max_size=20), st.integers(1, 200))
def test_micro_batches_hold_each_sequence_once_within_the_budget(lengths, budget):
    data = [tokens.Sequence(str(n), (1,) * length, 1) for n, length in enumerate(lengths)]
    parts = batches.micro_batches(list(range(len(data))), data, budget)
    assert sorted(chain(*parts)) == list(range(len(data)))
    for part in parts:
        assert len(part) == 1 or max(lengths[n] for n in part) * len(part) <= budget
