"""Over public chat templates: the target is the response and one end of turn, or the message names the key to add."""

import ast
import datetime
import re
from dataclasses import replace
from itertools import groupby

import pytest
import templates
from transformers.utils import chat_template_utils

from tradeoff.domains import Example
from tradeoff.errors import UserError
from tradeoff.evaluation import BY_TEMPLATE, IN_USER_TURN
from tradeoff.models.chat import Chat, Settings, plain
from tradeoff.models.reasoning import opening, separate

SYSTEM, FIRST, EARLIER, ASKED, ANSWER = "You are terse.", "Is ice cold?", "It is.", "Is water wet?", "yes"
TURNS = {
    "one turn": [("user", ASKED)],
    "a system turn": [("system", SYSTEM), ("user", ASKED)],
    "several turns": [("user", FIRST), ("assistant", EARLIER), ("user", ASKED)],
    "a system turn and several": [("system", SYSTEM), ("user", FIRST), ("assistant", EARLIER), ("user", ASKED)],
}
REASONED = "<think>\nIt is a liquid.\n</think>\n\nyes"
# The choice that a study has to make, by template; the others need none.
NO_THINKING = Settings(arguments={"enable_thinking": False})
CHOICES = {
    **dict.fromkeys(("glm4moe", "qwen3", "qwen3_5_think", "qwen3_6", "qwen3_8"), NO_THINKING),
    **{name: NO_THINKING for name in templates.NAMES if name.startswith("nemotron")},
    "gptoss": Settings(response_prefix="<|channel|>final<|message|>"),
    "muse_glimmer": Settings(response_prefix=" to=user<|message|>"),
}
# Their prompts begin the reasoning, and no argument ends it.
REASONING_ALONE = {"deepseek_r1_distill", "deepseekv3"}
FOLDS = {"gemma"}
NO_END = {"glm4moe"}
DATED = {"llama3_2", "gptoss", "muse_glimmer"}


def chat(name, settings=None):
    return Chat(templates.tokenizer(name), settings or CHOICES.get(name, Settings()), name=name)


def example(turns, response=ANSWER):
    return Example("train-00001", tuple({"role": role, "content": text} for role, text in turns), response, {})


@pytest.fixture(params=templates.NAMES)
def name(request):
    return request.param


def test_there_are_as_many_templates_as_the_readme_says():
    assert len(templates.NAMES) == 41


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS.keys())
def test_the_target_is_the_response_and_one_end_of_turn(name, turns):
    of = chat(name)
    response = REASONED if name in REASONING_ALONE else ANSWER
    sequence = of.encode(example(turns, response))
    decode = of.tokenizer.decode
    prompt, target = sequence.ids[: sequence.prompt_length], sequence.ids[sequence.prompt_length :]
    assert list(prompt) == of.prompt_ids(of.prompt(example(turns).messages))
    assert target[-1] in of.ends
    assert not set(target[:-1]) & of.ends
    text = decode(target, skip_special_tokens=True)
    assert text.strip() == (response.removeprefix("<think>\n") if name in REASONING_ALONE else ANSWER)
    for _, said in turns:
        assert decode(prompt).count(said) == 1
    assert decode([target[-1]]) == templates.tokenizer(name).eos_token or name.startswith("phi")


LONG = [("system", SYSTEM), ("user", FIRST), ("assistant", EARLIER), ("user", ASKED)]
# What these write ahead of the last answer, or leave out of an earlier one, is reasoning's.
ONLY_LAST = {*REASONING_ALONE, "gptoss", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6"}


def test_every_turn_is_supervised_up_to_its_end_or_the_message_says_that_it_cannot_be(name):
    of = chat(name)
    asked = replace(example(LONG, REASONED if name in REASONING_ALONE else ANSWER), all_turns=True)
    if name in ONLY_LAST:
        remedy = "put the reasoning" if name in REASONING_ALONE else "once another follows, .*; write supervise: last"
        with pytest.raises(UserError, match=rf"\Amodels\.{name}: example train-00001: [^\n]*{remedy}"):
            of.encode(asked)
        return
    sequence = of.encode(asked)
    runs = [[place for _, place in run] for _, run in groupby(enumerate(sequence.supervised), lambda p: p[1] - p[0])]
    assert len(runs) == 2
    for run, (place, said) in zip(runs, ((2, EARLIER), (4, ANSWER)), strict=True):
        prompt = of.prompt_ids(of.prompt(asked.messages[:place]))
        assert list(sequence.ids[: run[0]]) == prompt
        target = [sequence.ids[n] for n in run]
        assert (target[-1] in of.ends) == (name not in NO_END or said == ANSWER)
        assert not set(target[:-1]) & of.ends
        assert of.tokenizer.decode(target, skip_special_tokens=True).strip() == said
    last = of.encode(replace(asked, all_turns=False))
    assert last.ids == sequence.ids
    assert last.prompt_length == runs[1][0]


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS.keys())
def test_without_a_choice_the_message_names_the_key_that_helps(name, turns):
    asked, of = example(turns), chat(name, Settings())
    if name in REASONING_ALONE:
        with pytest.raises(UserError, match=r"\A[^\n]*ends a prompt with .*<think>[^\n]*put the reasoning [^\n]*\Z"):
            of.encode(asked)
        assert of.describe()["target"].startswith("A liquid.\n</think>")
        return
    if name not in CHOICES:
        of.encode(asked)
        return
    with pytest.raises(UserError) as told:
        of.encode(asked)
    with pytest.raises(UserError):
        of.describe()
    line = str(told.value)
    assert line.startswith(f"models.{name}: example train-00001: the chat template ")
    assert "\n" not in line.replace("\\n", "")
    assert Settings(**key_in(line)) == CHOICES[name]


def key_in(line):
    """The key that a message says to add."""
    if switch := re.search(r"add chat_template: \{(\w+): false\}", line):
        return {"arguments": {switch[1]: False}}
    return {"response_prefix": ast.literal_eval(re.search(r"add response_prefix: ('.*?'),", line)[1])}


def test_a_prompt_is_the_same_on_any_day_and_has_the_study_s(name, monkeypatch):
    prompts = []
    for day in (1, 28):

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz=None, day=day):
                return cls(2031, 2, day)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        prompts.append(chat(name).prompt(example(TURNS["one turn"]).messages))
    assert prompts[0] == prompts[1]
    assert "2031" not in prompts[0]
    settings = CHOICES.get(name, Settings())
    other = Settings(arguments=settings.arguments, response_prefix=settings.response_prefix, date="1999-12-31")
    later = chat(name, other).prompt(example(TURNS["one turn"]).messages)
    assert ("1999" in later) == (name in DATED)
    assert chat(name, other).describe()["date"] == ("1999-12-31" if name in DATED else None)


def test_a_system_text_is_read_once_and_it_is_known_where(name):
    of = chat(name)
    assert of.system_turn == (IN_USER_TURN if name in FOLDS else BY_TEMPLATE)
    prompt = plain(of.prompt(example(TURNS["a system turn"]).messages))
    assert prompt.count(SYSTEM) == 1
    if name in FOLDS:
        assert f"{SYSTEM}\n\n{ASKED}" in prompt


def test_responses_that_reason_are_learned(name):
    """The reasoning and the answer are supervised, in the template's own marks where it has some."""
    thinks = "enable_thinking" in templates.template(name)
    of = chat(name, Settings(arguments={"enable_thinking": True} if thinks else {}))
    sequence = of.encode(example(TURNS["a system turn"], REASONED))
    prompt, target = (
        of.tokenizer.decode(ids)
        for ids in (sequence.ids[: sequence.prompt_length], sequence.ids[sequence.prompt_length :])
    )
    assert "liquid" not in prompt
    found = separate(opening(prompt) + target.removesuffix(of.tokenizer.eos_token), opening(prompt))
    assert (found.reasoning, found.finished) == ("It is a liquid.", True)
    assert of.without_special(found.answer).strip() == ANSWER


@pytest.mark.parametrize("asked", ["one turn", "several turns"])
def test_special_tokens_in_a_person_s_text_are_text(name, asked):
    of = chat(name)
    end = of.tokenizer.eos_token
    turns = [(role, f"{text} {end}") for role, text in TURNS[asked]]
    response = REASONED if name in REASONING_ALONE else f"{ANSWER} {end} or not"
    sequence, bare = (
        of.encode(example(turns, response)),
        of.encode(example(TURNS[asked]) if name not in REASONING_ALONE else example(TURNS[asked], REASONED)),
    )
    number = of.tokenizer.convert_tokens_to_ids(end)
    assert sequence.ids.count(number) == bare.ids.count(number)
    read = of.tokenizer.decode(sequence.ids)
    assert read.count(f"{ASKED} {end}") == 1
    assert len(sequence.ids) >= len(bare.ids) + len(turns) * len(end.encode())


def test_the_tokenizers_of_the_tests_have_the_tokens_that_templates_write(name):
    of = templates.tokenizer(name)
    for token in templates.SPECIAL.findall(templates.template(name)):
        assert of.convert_tokens_to_ids(token) >= 256, token
