"""A person's own domain: what a line may be, what is said when it is not, and how each scorer reads."""

import json
import re
import time
import unicodedata
from contextlib import suppress
from decimal import Decimal
from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tradeoff import domains
from tradeoff.domains import _rows, _scorers, _splits, custom

GOOD = '{"prompt": "2 + 2?", "response": "4"}'
SCORERS = ("exact", "number", "choice", "contains", "regex")
CHOICES = ("refund", "shipping", "shipping delay", "C++")


def domain(**options):
    return domains.build({"domain": "jsonl", "train": "train.jsonl", "test": "test.jsonl", **options})


@cache
def of(scorer, **options):
    return domain(scorer=scorer, **({"choices": CHOICES} if scorer == "choice" else {}) | options)


@pytest.fixture
def write(tmp_path):
    """Writes lines, or objects, to the two files; returns what `examples` wants."""

    def to(train=(GOOD,), test=('{"prompt": "3 + 3?", "response": "6"}',)):
        files = {}
        for name, lines in (("train.jsonl", train), ("test.jsonl", test)):
            files[name] = tmp_path / name
            if not isinstance(lines, bytes):
                texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
                lines = "".join(text + "\n" for text in texts).encode()
            files[name].write_bytes(lines)
        return files

    return to


def prompts(examples):
    return [e.messages[-1]["content"] for e in examples]


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test": "./train.jsonl"},
            "train and test are one file, train.jsonl; a test item must not be trained on: "
            "name another, or hold out a share of it with test: 0.2",
        ),
        ({"tolerance": 0.1}, "tolerance: the scorer exact has none; remove it, or let scorer be number"),
        ({"choices": ["a", "b"]}, "choices: the scorer exact has none; remove them, or let scorer be choice"),
        ({"scorer": "choice"}, "choices: the scorer choice chooses from at least two; list them"),
        (
            {"scorer": "choice", "choices": ["a", "b "]},
            "choices: 'b ' is empty or has white space around it; write a word",
        ),
        ({"scorer": "choice", "choices": ["a", "b", "a"]}, "choices: 'a' is listed twice; reword it"),
        ({"scorer": "choice", "choices": ["a", "A"]}, "choices: 'A' in a response would be read as 'a'; reword it"),
        (
            {"scorer": "choice", "choices": ["no", "Answer: no"]},
            "choices: 'Answer: no' in a response would be read as 'no'; reword it",
        ),
        ({"tolerance": -0.1, "scorer": "number"}, "Input should be greater than or equal to 0"),
        ({"tolerance": "0.1", "scorer": "number"}, "Input should be a valid number"),
        ({"train": ""}, "String should have at least 1 character"),
        ({"max_new_tokens": 0}, "Input should be greater than or equal to 1"),
        (
            {"scorer": "fuzzy"},
            "scorer: unknown scorer 'fuzzy'; choose from exact, number, choice, contains, regex, f1, rouge_l, "
            "chrf, json, json_valid, code, or name a function of your own such as my_scorers.py:score",
        ),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    options = {"train": "train.jsonl", "test": "test.jsonl", **options}
    with pytest.raises(ValidationError) as error:
        TypeAdapter(custom.Custom).validate_json(json.dumps(options), strict=True)
    assert error.value.errors()[0]["msg"] == message


def test_options_come_from_json():
    options = {"train": "a", "test": "b", "scorer": "choice", "choices": ["yes", "no"], "tolerance": 0}
    read = TypeAdapter(custom.Custom).validate_json(json.dumps(options), strict=True)
    assert read == custom.Custom("a", "b", scorer="choice", choices=("yes", "no"))
    assert read.max_new_tokens == 256
    assert read.data("test") == ("b",)
    assert read.data("train") == ("a", "b")


def test_choices_are_scored_as_classes():
    assert [m.name for m in of("choice").metrics] == ["balanced_accuracy", "accuracy", "macro_f1"]
    assert [m.balanced_by for m in of("choice").metrics] == ["label", None, None]
    assert [m.f1_of for m in of("choice").metrics] == [None, None, "label"]
    for scorer in SCORERS:
        if scorer != "choice":
            assert [m.name for m in of(scorer).metrics] == ["accuracy"]


# Lines


def test_lines_become_examples(write):
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3 more?"},
    ]
    files = write(test=[{"messages": conversation, "response": " It is\n7 ", "answer": 7}, "", "  ", GOOD])
    first, second = sorted(of("number").examples("test", None, 0, files), key=lambda e: e.id)
    assert first == domains.Example("test-00001", tuple(conversation), " It is\n7 ", {"answer": "7"})
    assert second == domains.Example("test-00004", ({"role": "user", "content": "2 + 2?"},), "4", {"answer": "4"})


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace(", ", ",\r ").encode() + b"\r\n\r\n",
        b"\n" * 3 + GOOD.encode() + b"\n",
        GOOD.replace("2 + 2?", "a\u2028b\x85c").encode(),
    ],
)
def test_a_file_may_come_from_another_system(write, content):
    (example,) = domain().examples("test", None, 0, write(test=content))
    assert example.response == "4"


TURN = {"role": "user", "content": "Hi"}

# A line, what is said of it, and the scorer where it matters.
REFUSED = [
    ('{"prompt": "a"', "not JSON (Expecting ',' delimiter, character 15); write one object on one line"),
    ("[", "not JSON (Expecting value, character 2); write one object on one line"),
    (GOOD + GOOD, "not JSON (Extra data, character 38); write one object on one line"),
    ("[" * 100_000, "not JSON that can be read (nested too deep); write one flat object on one line"),
    (b'{"prompt": "caf\xe9"}', "byte 16 is not UTF-8; save the file as UTF-8"),
    ("[1]", "should be an object, got a list; write one object on one line"),
    ('"a"', "should be an object, got text; write one object on one line"),
    ("null", "should be an object, got null; write one object on one line"),
    ('{"prompt": "a", "response": "b", "answer": NaN}', "NaN is no JSON; write a number, or text in quotes"),
    ('{"prompt": "a", "prompt": "b"}', "the key 'prompt' stands twice; remove one"),
    ('{"a": 1e9999999999999999999}', "the number 1e9999999999999999999 is too large; write a smaller one"),
    ({"prompt": "a", "respones": "b"}, "unknown key 'respones'; did you mean 'response'?"),
    ({"id": 7}, "has no prompt, only id; name its column, such as columns: {prompt: id}"),
    ({"promt": "a", "response": "b"}, "unknown key 'promt'; did you mean 'prompt'?"),
    ({"prompt": "a", "response": "b", "anwser": "b"}, "unknown key 'anwser'; did you mean 'answer'?"),
    ({}, "'prompt' is missing; add it, or 'messages'"),
    (
        {"prompt": "a", "messages": [TURN], "response": "b"},
        "both 'prompt' and 'messages'; keep one, or say which with shape",
    ),
    ({"prompt": "a"}, "'response' is missing; add it"),
    (
        {"prompt": 1, "response": "b"},
        "'prompt' should be text, got a number; put it in quotes, or make the column text",
    ),
    (
        {"prompt": "a", "response": True},
        "'response' should be text, got true or false; put it in quotes, or make the column text",
    ),
    ({"prompt": " \n", "response": "b"}, "'prompt' is empty; write it, or remove the row"),
    ({"prompt": "a", "response": ""}, "'response' is empty; write it, or remove the row"),
    ('{"prompt": "\\ud83d", "response": "b"}', "'prompt' holds half a character ('\\ud83d'); mend the escape"),
    (
        '{"prompt": "a", "response": "b", "answer": "\\ude00"}',
        "'answer' holds half a character ('\\ude00'); mend the escape",
    ),
    (
        {"messages": "a", "response": "b"},
        "'messages' should be a list of turns, got text; list objects of 'role' and 'content'",
    ),
    (
        {"messages": [], "response": "b"},
        "'messages' should be a list of turns, got an empty one; list objects of 'role' and 'content'",
    ),
    (
        {"messages": ["a"], "response": "b"},
        "turn 1: should be an object, got text; write one of 'role' and 'content'",
    ),
    (
        {"messages": [{"form": "human", "value": "a"}], "response": "b"},
        "turn 1: 'role' is missing; add it",
    ),
    ({"messages": [{"content": "a"}], "response": "b"}, "turn 1: 'role' is missing; add it"),
    ({"messages": [{"role": "user"}], "response": "b"}, "turn 1: 'content' is missing; add it"),
    (
        {"messages": [{"role": "user", "content": ["a"]}], "response": "b"},
        "turn 1: 'content' should be text, got a list; put it in quotes, or make the column text",
    ),
    (
        {"messages": [TURN, {"role": "asistant", "content": "a"}], "response": "b"},
        "turn 2: unknown role 'asistant'; did you mean 'assistant'?",
    ),
    (
        {"messages": [TURN, {"role": "system", "content": "a"}], "response": "b"},
        "turn 2: the role is system; only the first turn's may be",
    ),
    (
        {"messages": [TURN, TURN], "response": "b"},
        "turn 2: the role is user; "
        "after a possible system turn, a user turn comes first and user and assistant alternate",
    ),
    (
        {"messages": [{"role": "assistant", "content": "a"}, TURN], "response": "b"},
        "turn 1: the role is assistant; "
        "after a possible system turn, a user turn comes first and user and assistant alternate",
    ),
    (
        {"messages": [TURN, {"role": "assistant", "content": "a"}], "response": "b"},
        "the messages end with the assistant's turn, and there is 'response'; keep one",
    ),
    (
        {"messages": [{"role": "system", "content": "a"}], "response": "b"},
        "turn 1: the last turn is the system's and should be the user's; add a user turn",
    ),
    # The answer
    ({"prompt": "a", "response": "b", "answer": 3}, "'answer' should be text, got a number; put it in quotes"),
    ({"prompt": "a", "response": "b", "answer": " "}, "'answer' is empty; write it, or leave the key out"),
    (
        {"prompt": "a", "response": "Yes, b.", "answer": "b"},
        "'response' itself is wrong by its 'answer': it says 'Yes, b.', and 'b' is wanted; "
        "mend one, or choose another scorer",
    ),
    (
        {"prompt": "a", "response": "Answer:"},
        "no answer can be read from 'response', so none could from a model's; mend it or the scorer",
    ),
    (
        {"prompt": "a", "response": "four"},
        "no answer can be read from 'response', so none could from a model's; mend it or the scorer",
        "number",
    ),
    (
        {"prompt": "a", "response": "4", "answer": "four"},
        "'answer' should be a number, got text; write one such as 12.5",
        "number",
    ),
    (
        {"prompt": "a", "response": "4", "answer": True},
        "'answer' should be a number, got true or false; write one such as 12.5",
        "number",
    ),
    (
        {"prompt": "a", "response": "It is 4.", "answer": 5},
        "'response' itself is wrong by its 'answer': it says '4', and '5' is wanted; "
        "mend one, or choose another scorer",
        "number",
    ),
    (
        {"prompt": "a", "response": "refund", "answer": "refnud"},
        "'answer' is 'refnud', which is no choice; did you mean 'refund'?",
        "choice",
    ),
    (
        {"prompt": "a", "response": "refunds"},
        "no answer can be read from 'response', so none could from a model's; mend it or the scorer",
        "choice",
    ),
    (
        {"prompt": "a", "response": "refund, not shipping", "answer": "shipping"},
        "'response' itself is wrong by its 'answer': it says 'refund', and 'shipping' is wanted; "
        "mend one, or choose another scorer",
        "choice",
    ),
    (
        {"prompt": "a", "response": "b", "answer": []},
        "'answer' should be text or a list of texts, got an empty list; put each in quotes",
        "contains",
    ),
    (
        {"prompt": "a", "response": "b", "answer": ["b", 3]},
        "'answer' should be text or a list of texts, got a number; put each in quotes",
        "contains",
    ),
    (
        {"prompt": "a", "response": "b", "answer": ["b", ""]},
        "'answer' is empty; write it, or leave the key out",
        "contains",
    ),
    ({"prompt": "a", "response": "b"}, "'answer' is missing; add what a right response has or passes", "regex"),
    (
        {"prompt": "a", "response": "b", "answer": "(b"},
        "'answer' is no regular expression (missing ) at position 2); mend '(b'",
        "regex",
    ),
    (
        {"prompt": "a", "response": "b", "answer": "(b{200}){200}"},
        "'answer' is a pattern of over 1000 characters or 10000 repeats; simplify it",
        "regex",
    ),
    (
        {"prompt": "a", "response": "b", "answer": "b" * 1001},
        "'answer' is a pattern of over 1000 characters or 10000 repeats; simplify it",
        "regex",
    ),
    (
        {"prompt": "a", "response": "b", "answer": r"^\d+$"},
        r"'response' itself is wrong by its 'answer': it says 'b', and '^\\d+$' is wanted; "
        "mend one, or choose another scorer",
        "regex",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[1][:40])
def test_a_bad_line_is_refused_in_one_line(write, case):
    line, message, scorer = (*case, "exact")[:3]
    raw = line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
    good = {
        "prompt": "z",
        "response": {"choice": "refund"}.get(scorer, "4"),
        "answer": {"choice": "refund"}.get(scorer, "4"),
    }
    files = write(test=json.dumps(good).encode() + b"\n\n" + raw + b"\n")
    with pytest.raises(ValueError) as error:
        of(scorer).examples("test", None, 0, files)
    assert str(error.value) == f"test.jsonl, line 3: {message}"


def test_of_several_faults_the_first_is_told_and_the_others_counted(write):
    with pytest.raises(ValueError) as error:
        domain().examples("train", None, 0, write(train=[GOOD, "{", GOOD, "{"]))
    told = "train.jsonl, line 2: not JSON (Expecting property name enclosed in double quotes, character 2); "
    assert str(error.value) == told + "write one object on one line (1 more faulty line)"
    with pytest.raises(ValueError, match=r"^test.jsonl, line 1: .* \(2 more faulty lines\)$"):
        domain().examples("train", None, 0, write(test=["{"] * 3))


def test_a_file_without_lines_and_no_file_are_refused(write, tmp_path):
    with pytest.raises(ValueError) as error:
        domain().examples("test", None, 0, write(test=["", " "]))
    assert str(error.value) == 'test.jsonl: is empty; write a row such as {"prompt": "2 + 2?", "response": "4"}'
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ValueError) as error:
            domain().examples("test", None, 0, {"test.jsonl": path})
        assert str(error.value) == f"test.jsonl: cannot be read ({why}); name a file of examples"


@given(content=st.binary(max_size=60) | st.text('{}[]":,\\u prompesn0\n', max_size=60).map(str.encode))
def test_any_bytes_are_lines_or_one_line_of_reproach(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    with suppress(ValueError):
        assert _rows.read("any.jsonl", path, "test", "test", _scorers.Exact(True))
        return
    with pytest.raises(ValueError, match=r"\Aany\.jsonl(, line \d+)?: [^\n]*; [^\n]*\Z"):
        _rows.read("any.jsonl", path, "test", "test", _scorers.Exact(True))


# Draws


def test_a_draw_repeats_and_a_shorter_one_is_its_start(write):
    files = write(train=[{"prompt": f"{i}?", "response": str(i)} for i in range(50)])
    whole = domain().examples("train", None, 3, files)
    assert sorted(prompts(whole), key=lambda p: int(p[:-1])) == [f"{i}?" for i in range(50)]
    assert len({e.id for e in whole}) == 50
    assert domain().examples("train", 50, 3, files) == whole
    assert domain().examples("train", 20, 3, files) == whole[:20]
    assert domain().examples("train", 20, 4, files) != whole[:20]
    with pytest.raises(ValueError) as error:
        domain().examples("train", 51, 3, files)
    assert str(error.value) == "train.jsonl: gives 50 examples, and 51 are asked for; ask for at most 50"


def test_a_training_line_whose_prompt_is_tested_is_dropped_and_told(write, capsys):
    system = {"role": "system", "content": "Be brief."}
    asked = [{"prompt": f"What is {i}?", "response": "a number"} for i in range(30)]
    same = {"prompt": " What\nis  3? ", "response": "three"}  # white space and response make no difference
    turns = {"messages": [system, {"role": "user", "content": "What is 3?"}], "response": "3"}  # a system turn does
    files = write(train=[*asked[:15], same, turns, turns], test=asked[2:])
    kept = domain().examples("train", None, 0, files)
    assert sorted(prompts(kept)) == ["What is 0?", "What is 1?", "What is 3?", "What is 3?"]
    assert capsys.readouterr().out == (
        "train.jsonl: rows read: 16 as prompt, 2 as messages; columns not used: none\n"
        "train.jsonl: 14 of its rows dropped, since the prompt is in test.jsonl: "
        "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...\n"
        "train.jsonl: 2 of its rows kept, though the prompt is nearly a test item's; look at them: 17, 18\n"
        "train.jsonl: 1 of its rows kept, though the prompt stands in an earlier row: 18\n"
    )
    assert not set(prompts(kept[:0])) & set(prompts(domain().examples("test", None, 0, files)))
    assert capsys.readouterr().out == "test.jsonl: rows read: 28 as prompt; columns not used: none\n"


def test_dropped_and_repeated_lines_are_told_apart_by_pure_functions(write):
    files = write(train=[GOOD, '{"prompt": "3  + 3?", "response": "5"}', GOOD])
    train, test = (_rows.read(n, files[n], n[:-6], n[:-6], _scorers.Exact(True)) for n in ("train.jsonl", "test.jsonl"))
    kept, dropped = _splits.apart(train, test)
    assert [e.id for e in kept] == ["train-00001", "train-00003"]
    assert [e.id for e in dropped] == ["train-00002"]
    assert [e.id for e in _splits.repeated(kept)] == ["train-00003"]


def test_a_training_file_of_test_items_leaves_nothing(write):
    with pytest.raises(ValueError, match=r"^train.jsonl: gives 0 examples, and 1 are asked for; ask for at most 0$"):
        domain().examples("train", 1, 0, write(train=[GOOD], test=[GOOD]))


def test_training_lines_of_the_scorer_regex_need_no_pattern(write):
    files = write(test=[{"prompt": "a", "response": "b", "answer": "b"}])
    (example,) = of("regex").examples("train", None, 0, files)
    assert example.answer == {"answer": []}
    assert of("regex").score("4", example.answer) == domains.Outcome({"accuracy": 0.0})


# Scorers


def score(scorer, response, answer, **options):
    rule = of(scorer, **options)
    return rule.score(response, {"label" if scorer == "choice" else "answer": answer})


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("Paris", "Paris"),
        ("  Paris\n", "Paris"),
        ("It is in France.\nAnswer: Paris", "Paris"),
        ("answer : Paris\nor so", "Paris"),
        ("**Answer:** Paris", "Paris"),
        ("**Answer**: Paris", "Paris"),
        ("**Answer: Paris**", "Paris"),
        ("* Answer: *args", "*args"),
        ("### **Answer:**\nParis", "Paris"),
        ("> - __ANSWER__: Paris", "Paris"),
        ("Answer: Rome\nAnswer: Paris", "Paris"),
        ("Answer:\n\nParis, on two\nlines", "Paris, on two\nlines"),
        ("**Answer:**\nParis", "Paris"),
        ("Answer：Paris", "Paris"),
        ("The answer: Paris", "The answer: Paris"),
        ("Answers: Paris", "Answers: Paris"),
        ("Paris\nAnswer:", ""),
        ("", ""),
    ],
)
def test_what_a_response_says(response, text):
    assert _scorers.said(response) == text


@pytest.mark.parametrize(
    ("scorer", "response", "answer", "right", "invalid"),
    [
        ("exact", "paris", "Paris", 1, False),
        ("exact", "Answer: **Paris**", "Paris", 1, False),
        ("exact", "**Answer: Paris**", "Paris", 1, False),
        ("exact", "**Answer:** `Paris`", "Paris", 1, False),
        ("exact", "***Paris***", "Paris", 1, False),
        ("exact", "**Paris** or **Rome**", "Paris", 0, False),
        ("exact", "`__init__`", "__init__", 1, False),
        ("exact", "Answer: *args", "*args", 1, False),
        ("exact", "init", "__init__", 0, False),
        ("exact", "Paris.", "Paris", 0, False),
        ("exact", "Answer:", "Paris", 0, True),
        ("exact", " ", "Paris", 0, True),
        ("number", "Answer: 5 apples of 7", "5", 1, False),
        ("number", "So 2 + 3 = 5", "5.0", 1, False),
        ("number", "$1,200.00", "1200", 1, False),
        ("number", "5 or 6", "5", 0, False),
        ("number", "It is 7.\nAnswer: unknown", "7", 0, True),
        ("number", "five", "5", 0, True),
        ("number", "123456789012345678901234567891", "123456789012345678901234567892", 0, False),
        ("choice", "Refund.", "refund", 1, False),
        ("choice", "A shipping delay", "shipping delay", 1, False),
        ("choice", "A shipping delay", "shipping", 0, False),
        ("choice", "refund or shipping", "refund", 1, False),
        ("choice", "Not a refund.\nAnswer: shipping", "shipping", 1, False),
        ("choice", "refund\nAnswer: none", "refund", 0, True),
        ("choice", "I like C++.", "C++", 1, False),
        ("choice", "refunds", "refund", 0, True),
        ("contains", "the cat sat", ["CAT", "sat"], 1, False),
        ("contains", "the cat", ["cat", "sat"], 0, False),
        ("contains", "", ["cat"], 0, True),
        ("regex", "on 2024-05-06", [r"\d{4}-\d\d-\d\d"], 1, False),
        ("regex", "SELECT name FROM t", ["^select", r"from\s+t$"], 1, False),
        ("regex", "SELECT name FROM s", ["^select", r"from\s+t$"], 0, False),
        ("regex", " ", ["a*"], 0, True),
    ],
)
def test_each_scorer_reads_and_compares(scorer, response, answer, right, invalid):
    outcome = score(scorer, response, answer)
    assert set(outcome.values.values()) == {float(right)}
    assert outcome.invalid == invalid
    if scorer == "choice":
        assert (outcome.label == answer) == bool(right)
    else:
        assert outcome.label is None


def test_case_counts_when_it_is_asked_to():
    assert score("exact", "paris", "Paris", ignore_case=False).values == {"accuracy": 0.0}
    assert score("contains", "in paris", ["Paris"], ignore_case=False).values == {"accuracy": 0.0}
    assert score("regex", "in paris", ["Paris"], ignore_case=False).values == {"accuracy": 0.0}
    letters = domain(scorer="choice", choices=("A", "B"), ignore_case=False)
    assert letters.score("It is a B.", {"label": "B"}).label == "B"
    words = domain(scorer="choice", choices=("Yes", "No"))
    assert words.score("no", {"label": "No"}).label == "No"


@pytest.mark.parametrize(
    ("answer", "found", "right"),
    [("100", "105", 1), ("100", "95", 1), ("100", "105.1", 0), ("-100", "-95", 1), ("-100", "95", 0), ("0", "0.01", 0)],
)
def test_the_tolerance_is_a_share_of_the_answer(answer, found, right):
    assert score("number", found, answer, tolerance=0.05).values == {"accuracy": float(right)}
    assert score("number", found, answer).values == {"accuracy": 0.0}


def test_bounds_beyond_the_largest_number_are_no_trouble():
    assert score("number", "5", "9e999999999999999999", tolerance=0.5).values == {"accuracy": 0.0}


def test_a_search_that_would_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(_scorers, "MOST_SECONDS", 0.05)
    start = time.monotonic()
    for pattern in ("(a+)+$", "(a|aa)+$", "(?=(a+)+b)", "(a?){500}a{500}b"):
        outcome = score("regex", "a" * 5000 + "!", [pattern])
        assert outcome == domains.Outcome({"accuracy": 0.0}, invalid=True), pattern
    assert time.monotonic() - start < 3
    long = "a" * (_scorers.LONGEST_TEXT + 1) + "b"
    assert score("regex", long, ["b"]) == domains.Outcome({"accuracy": 0.0})


# In one line, without what a reading looks over.
WORDS = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=8)
FORMS = st.sampled_from(
    ["{}", " {}\n", "Answer: {}", "**Answer:** {}", "**Answer: {}**", "Let me think.\nanswer: `{}`", "Answer:\n{}\n"]
)
WANTED = {"exact": "4", "number": "4", "choice": "refund", "contains": ["4", "b"], "regex": [r"4\b", "(a|b)+"]}


@given(text=st.text() | st.from_regex(r"\**answer\**: ?[-+0-9.,eE/ a-d*()]{0,20}\n?", fullmatch=True))
def test_score_takes_any_text(text):
    for scorer, wanted in WANTED.items():
        outcome = score(scorer, text, wanted, **({"tolerance": 0.1} if scorer == "number" else {}))
        assert set(outcome.values) == {m.name for m in of(scorer).metrics}
        assert set(outcome.values.values()) <= {0.0, 1.0}
        assert not (outcome.invalid and any(outcome.values.values()))


@given(pattern=st.text("ab(){}[]*+?|\\^$.,0123456789<>=!:Pe", max_size=20), text=st.text("ab0(", max_size=20))
def test_any_pattern_is_refused_or_searched(pattern, text):
    assume(pattern.strip())
    with suppress(ValueError):
        wanted = _scorers.Regex(True).wanted(pattern)
        score("regex", text, wanted)


def seen(text):
    """As `_scorers._fold` gives it, character by character."""
    characters = (
        unicodedata.normalize("NFKC", c) if unicodedata.east_asian_width(c) in "FH" and ord(c) != 0x20A9 else c
        for c in text
    )
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", "".join(characters)).casefold())


@pytest.mark.parametrize("scorer", ["exact", "contains", "choice", "regex"])
@pytest.mark.parametrize(
    ("response", "answer", "is_right"),
    [
        ("cafe\u0301", "caf\u00e9", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("\uac00", "\u1100\u1161", True),  # Hangul in one character and in its letters
        ("cafe", "caf\u00e9", False),
        ("Ｐａｒｉｓ", "Paris", True),
        ("Paris", "Ｐａｒｉｓ", True),
        ("ﾊﾟﾘ", "パリ", True),
        ("10²", "102", False),
    ],
)
def test_texts_that_look_alike_are_the_same(scorer, response, answer, is_right):
    """A pattern keeps its width: a full-width bracket is none."""
    options = {"choices": (answer, "no")} if scorer == "choice" else {}
    widths = any(unicodedata.east_asian_width(c) in "FH" for c in response + answer)
    wanted = of(scorer, **options)._scorer.wanted(answer)
    found = score(scorer, response, wanted, **options)
    assert found.values["accuracy"] == float(is_right and not (scorer == "regex" and widths))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("答案是Exact。", ["Exact"]),
        ("答案是Ｅｘａｃｔ，不是B", ["Exact", "B"]),
        ("我选A吧", ["A"]),
        ("A1 or A_ or 1A", []),
        ("他说不相关", ["不相关"]),
        ("他说相关性", ["相关"]),
        ("スーパーExactです", ["Exact"]),
        ("感想は긍정입니다", ["긍정"]),
        ("비긍정", []),
        ("ไม่ใช่ครับ", ["ไม่ใช่"]),
        ("हाँ", []),
        ("A\u0301", []),
        ("第1项", ["1"]),
        ("11", []),
        ("Exactly", []),
        ("неExact", []),
    ],
)
def test_where_a_word_ends_depends_on_its_script(text, expected):
    choices = ("Exact", "A", "B", "1", "相关", "不相关", "긍정", "ใช่", "ไม่ใช่", "हा")
    assert _scorers.Choice(choices, True).named(text) == expected


SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "BOPOMOFO")


def kind_of_letter(character):
    """none, mark, spaceless mark, spaceless, hangul or letter, by the names of the characters."""
    name, category = unicodedata.name(character, ""), unicodedata.category(character)
    if name.startswith(SPACELESS):
        return "spaceless mark" if category[0] == "M" else "spaceless"
    if category[0] == "M":
        return "mark"
    if name.startswith("HANGUL"):
        return "hangul"
    enclosed = re.fullmatch("(NEGATIVE )?(CIRCLED LATIN (CAPITAL|SMALL)|SQUARED LATIN CAPITAL) LETTER [A-Z]", name)
    joins = character in ("\u200c", "\u200d") or category in ("Nl", "Pc")
    return "letter" if character.isalpha() or character.isdecimal() or enclosed or joins else "none"  # not ¼, not ²


@pytest.mark.parametrize("character", ["¼", "²", "Ⅷ", "Ⓐ", "\u200d", "_", "é", "٣", "-"])
def test_a_word_ends_at_what_is_no_letter_digit_or_joiner(character):
    named = _scorers.Choice(("Exact", "No"), True).named(f"Exact{character}")
    assert bool(named) == (kind_of_letter(character) == "none")


def is_all_that_is_said(text, at, end):
    return all(len(rest) <= 9 and re.fullmatch(r"\W*", rest) for rest in (text[:at], text[end:]))


def named_slowly(choices, text):
    """Every place from the left, every choice from the longest, and the characters before and after by themselves."""
    found, at = [], 0
    while at < len(text):
        for choice in sorted(choices, key=len, reverse=True):
            end = at + len(choice)
            before, after = (
                kind_of_letter(c) if c else "none" for c in (text[at - 1 : at] if at else "", text[end : end + 1])
            )
            first, last = kind_of_letter(choice[0]), kind_of_letter(choice[-1])
            begins = {"spaceless": True, "hangul": before != "hangul"}.get(first, before not in ("letter", "mark"))
            ends = "mark" not in after and (after != "letter" or last in ("spaceless", "hangul"))
            alone = len(choice) > 1 or not choice.isalpha() or is_all_that_is_said(text, at, end)
            same = text[at:end] == choice or (alone and text[at:end].casefold() == choice.casefold())
            if same and begins and ends:
                found.append(choice)
                at = end
                break
        else:
            at += 1
    return found


MIXED = st.text("abXé1_ 。相关不カナー긍정ใช่न", max_size=14)


@given(choices=st.lists(MIXED.map(str.strip).filter(len), min_size=2, max_size=4, unique_by=str.casefold), text=MIXED)
def test_choices_are_named_as_a_slow_reader_names_them(choices, text):
    choices, text = [unicodedata.normalize("NFC", c) for c in choices], unicodedata.normalize("NFC", text)
    assume(all(not {kind_of_letter(c[0]), kind_of_letter(c[-1])} & {"mark", "spaceless mark", "none"} for c in choices))
    assert _scorers.Choice(tuple(choices), True).named(text) == named_slowly(choices, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This is a clear case of C.", ["C"]),
        ("b", ["B"]),
        ("(b).", ["B"]),
        ("I choose B", ["B"]),
        ("The answer is (D), as a and b are not", ["D"]),
    ],
)
def test_a_letter_counts_in_its_own_case_or_alone(text, expected):
    assert _scorers.Choice(("A", "B", "C", "D"), True).named(text) == expected


@pytest.mark.parametrize("piece", ["答案是Exact。", "a", "Answer: ", "**Answer:", "no ", "\n> - ", "e\u0301", "１"])
def test_long_texts_take_no_long_time(piece):
    text = piece * (200_000 // len(piece))
    start = time.monotonic()
    for scorer, wanted in WANTED.items():
        score(scorer, text, wanted)
    assert time.monotonic() - start < 5


@given(right=WORDS, other=WORDS, form=FORMS)
def test_a_right_text_is_right_in_every_form_and_a_wrong_one_wrong(right, other, form):
    assume("answer" not in (right.casefold(), other.casefold()))
    for scorer, wanted in (("exact", right), ("contains", [right]), ("regex", [re.escape(right)])):
        wanted = of(scorer)._scorer.wanted(wanted)
        assert score(scorer, form.format(right), wanted).values == {"accuracy": 1.0}, scorer
    alike = seen(other) == seen(right)
    assert score("exact", form.format(other), right).values["accuracy"] == float(alike)
    assert _scorers.Exact(True).default(form.format(right)) == _scorers.common(right)
    assert _scorers.Contains(True).default(form.format(right)) == [_scorers.common(right)]


@given(
    right=st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
    other=st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
    form=FORMS,
)
def test_a_right_number_is_right_in_every_form_and_a_wrong_one_wrong(right, other, form):
    for spelled in (f"{right:f}", f"{right:,f}"):
        assert score("number", form.format(spelled), str(right)).values == {"accuracy": 1.0}
    assert score("number", form.format(f"{other:f}"), str(right)).values == {"accuracy": float(other == right)}
    near = abs(other - right) <= abs(right) * Decimal("0.5")
    assert score("number", form.format(f"{other:f}"), str(right), tolerance=0.5).values == {"accuracy": float(near)}


@given(choices=st.lists(WORDS, min_size=2, max_size=5), form=FORMS, data=st.data())
def test_a_right_choice_is_right_in_every_form_and_a_wrong_one_wrong(choices, form, data):
    try:
        rule = domain(scorer="choice", choices=tuple(choices))
    except ValueError:  # two that read alike
        assume(False)
    assume("answer" not in map(str.casefold, choices))
    named, right = data.draw(st.sampled_from(choices)), data.draw(st.sampled_from(choices))
    outcome = rule.score(form.format(named), {"label": right})
    assert outcome.label == named
    assert set(outcome.values.values()) == {float(named == right)}
