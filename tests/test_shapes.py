"""One conversation in every shape that people have, and how the columns of other shapes are named."""

import json
from decimal import Decimal

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tradeoff import domains
from tradeoff.domains import Example
from tradeoff.domains._shapes import Reading
from tradeoff.models.chat import Chat

ASKED, SAID = "2 + 2?", "4"
USER, ASSISTANT = {"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}
SYSTEM = {"role": "system", "content": "Be brief."}
SHAREGPT = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]
PARTS = [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?"}]

# A row, and how it is read; each says the same.
SAME = {
    "prompt and response": ({"prompt": ASKED, "response": SAID}, {}),
    "prompt and completion": ({"prompt": ASKED, "completion": SAID, "id": 3}, {}),
    "prompt and completion of turns": ({"prompt": [USER], "completion": [ASSISTANT]}, {}),
    "messages and response": ({"messages": [USER], "response": SAID}, {}),
    "messages": ({"messages": [USER, ASSISTANT]}, {}),
    "messages with nulls and more keys": ({"messages": [{**USER, "name": None, "weight": 1}, ASSISTANT], "x": []}, {}),
    "messages of parts": ({"messages": [{**USER, "content": PARTS}, ASSISTANT]}, {}),
    "messages spelled as JSON": ({"messages": json.dumps([USER, ASSISTANT])}, {}),
    "messages beside a prompt": ({"messages": [USER, ASSISTANT], "prompt": "else"}, {"shape": "messages"}),
    "conversations": ({"conversations": SHAREGPT}, {}),
    "conversations of roles": ({"conversations": [USER, ASSISTANT]}, {}),
    "messages of ShareGPT's turns": ({"messages": SHAREGPT}, {}),
    "alpaca": ({"instruction": ASKED, "input": "", "output": SAID}, {}),
    "alpaca without input": ({"instruction": ASKED, "output": SAID, "text": "all of it"}, {}),
    "alpaca beside nulls": ({"instruction": ASKED, "output": SAID, "prompt": None, "messages": None}, {}),
    "columns": ({"question": ASKED, "gold": SAID}, {"columns": {"prompt": "question", "response": "gold"}}),
    "columns of turns": (
        {"chat": SHAREGPT, "prompt": "else"},
        {"columns": {"conversations": "chat"}, "shape": "conversations"},
    ),
    "a template": ({"a": Decimal(2), "b": None, "response": SAID}, {"prompt": "{{ a }} + {{ a }}?{{ b }}"}),
}


@pytest.mark.parametrize(("row", "options"), SAME.values(), ids=SAME)
def test_one_conversation_is_the_same_in_every_shape(row, options):
    found = Reading(**options).conversation(row)
    assert (found.messages, found.response) == ((USER,), SAID)
    assert found.answer is None


@pytest.mark.parametrize(("row", "options"), SAME.values(), ids=SAME)
def test_a_system_prompt_of_the_domain_or_of_the_row_comes_first(row, options):
    (system, user) = Reading(**options, system_prompt="Be brief.").conversation(row).messages
    assert (system, user) == (SYSTEM, USER)
    (system, _) = Reading(**options, system_prompt="Be long.").conversation({**row, "system": "Be brief."}).messages
    assert system == SYSTEM
    own = {"messages": [{"role": "system", "content": "Mine."}, USER, ASSISTANT]}
    assert Reading(system_prompt="Be brief.").conversation(own).messages[0]["content"] == "Mine."


def shapes_of(turns):
    """A conversation of several turns in every shape that can hold it, the last turn the assistant's."""
    roles = {"user": "human", "assistant": "gpt", "system": "system"}
    sharegpt = [{"from": roles[turn["role"]], "value": turn["content"]} for turn in turns]
    return [
        {"messages": turns},
        {"messages": turns[:-1], "response": turns[-1]["content"]},
        {"conversations": sharegpt},
        {"conversations": json.dumps(sharegpt), "prompt": None},
        {"prompt": turns[:-1], "completion": turns[-1:]},
        *([{"instruction": turns[0]["content"], "output": turns[1]["content"]}] if len(turns) == 2 else []),
    ]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3), st.none() | TEXT)
def test_the_same_conversation_in_every_shape_gives_the_same_ids_and_mask(pairs, system):
    roles = ("user", "assistant")
    turns = [{"role": role, "content": text} for pair in pairs for role, text in zip(roles, pair, strict=True)]
    chat, found = Chat(tiny.tokenizer()), set()
    for row in shapes_of(turns):
        said = Reading(system_prompt=system).conversation(row)
        found.add(chat.encode(Example("train-00001", said.messages, said.response, {})))
    assert len(found) == 1


@pytest.mark.parametrize("column", ["answer_id", "answer_type", "system_id", "completions", "inputs", "prompt_id"])
def test_a_column_with_a_name_of_its_own_is_no_misspelt_one(column):
    assert Reading().conversation({"prompt": ASKED, "response": SAID, column: "x"}).unused == (column,)


def test_with_columns_no_spelling_is_guessed_at():
    row = {"prompt": ASKED, "response": SAID, "answers": "x"}
    with pytest.raises(ValueError, match=r"^unknown key 'answers'; did you mean 'answer'\?$"):
        Reading().conversation(row)
    assert Reading(columns={"response": "response"}).conversation(row).unused == ("answers",)


def test_what_is_not_used_is_named_once(tmp_path, capsys):
    path = tmp_path / "test.jsonl"
    rows = [{"prompt": ASKED, "response": SAID, "id": 1}, {"id": 2, "instruction": "a", "output": "b", "source": "x"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    domains.build({"domain": "custom", "train": "a.csv", "test": "test.jsonl"}).examples(
        "test", None, 0, {"test.jsonl": path}
    )
    told = "test.jsonl: rows read: 1 as prompt, 1 as alpaca; columns not used: id, source\n"
    assert capsys.readouterr().out == told


# A row, how it is read, and what is said of it.
REFUSED = [
    (
        {"a": 1},
        {"columns": {"prompt": "question"}},
        "has no column 'question', which columns.prompt names; choose from a",
    ),
    (
        {"gold": "b"},
        {"prompt": "{{ q }}", "columns": {"response": "gold"}},
        "the template prompt cannot be filled ('q' is undefined); correct it",
    ),
    (
        {"response": "b"},
        {"prompt": "{{ ''.__class__.__mro__ }}"},
        "the template prompt cannot be filled (access to attribute '__class__' of 'str' object is unsafe.); correct it",
    ),
    (
        {"question": "a", "gold": 4},
        {"columns": {"prompt": "question", "response": "gold"}},
        "'gold' should be text, got a number; put it in quotes, or make the column text",
    ),
    (
        {"prompt": "a", "response": "b", "completion": "c"},
        {},
        "both 'response' and 'completion'; keep one, or say which with columns",
    ),
    (
        {"prompt": "a", "completion": [USER]},
        {},
        "'completion' should be one turn of the assistant's; move the others to the prompt",
    ),
    (
        {"prompt": [USER, ASSISTANT], "response": "b"},
        {},
        "turn 2: the last turn is the assistant's and should be the user's; make it the response",
    ),
    ({"messages": [USER]}, {}, "'response' is missing; add it, or end the messages with the assistant's turn"),
    (
        {"messages": [USER, {**ASSISTANT, "tool_calls": [{}]}]},
        {},
        "turn 2: has 'tool_calls', and calls of tools are not supported; leave such conversations out",
    ),
    (
        {"messages": [USER, {"role": "tool", "content": "4"}]},
        {},
        "turn 2: the role is tool, and turns of tools are not supported; leave such conversations out",
    ),
    ({"messages": "[1"}, {}, "'messages' should be a list of turns, got text; list objects of 'role' and 'content'"),
    (
        {"conversations": [*SHAREGPT, SHAREGPT[0]]},
        {},
        "turn 3: the last turn is the user's and should be the assistant's; add that turn",
    ),
    ({"conversations": [{"from": "hman", "value": "a"}]}, {}, "turn 1: unknown role 'hman'; did you mean 'human'?"),
    ({"conversations": [{"from": "human", "valu": "a"}]}, {}, "turn 1: unknown key 'valu'; did you mean 'value'?"),
    ({"instruction": "a", "outputs": "b"}, {}, "unknown key 'outputs'; did you mean 'output'?"),
    ({"instruction": "a"}, {}, "'output' is missing; add it"),
    ({"prompt": "a", "response": "b", "sytem": "c"}, {}, "unknown key 'sytem'; did you mean 'system'?"),
    ({"messages": [USER, ASSISTANT]}, {"shape": "alpaca"}, "'instruction' is missing; add it"),
]


@pytest.mark.parametrize(("row", "options", "message"), REFUSED, ids=lambda part: str(part)[:40])
def test_a_row_of_no_shape_is_told_with_column_and_remedy(row, options, message):
    with pytest.raises(ValueError) as error:
        Reading(**options).conversation({k: Decimal(v) if isinstance(v, int) else v for k, v in row.items()})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"promt": "q"}}, "columns: 'promt' is nothing that is read; did you mean 'prompt'?"),
        (
            {"prompt": "{{ a"},
            "prompt: no valid Jinja (unexpected end of template, expected 'end of print statement'.); correct it",
        ),
        (
            {"prompt": "{{ a }}", "columns": {"prompt": "q"}},
            "prompt: a template makes the prompt; leave out columns.prompt and shape",
        ),
        (
            {"prompt": "{{ a }}", "shape": "alpaca"},
            "prompt: a template makes the prompt; leave out columns.prompt and shape",
        ),
    ],
)
def test_options_of_reading_that_contradict_are_refused(options, message):
    with pytest.raises(ValidationError) as error:
        domains.build({"domain": "custom", "train": "a.csv", "test": "b.csv", **options})
    assert error.value.errors()[0]["msg"] == message


def test_jsonl_is_another_name_of_the_kind():
    one, two = (domains.build({"domain": name, "train": "a", "test": "b"}) for name in ("jsonl", "custom"))
    assert one == two
    assert one.kind == "custom"
