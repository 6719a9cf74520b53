"""MetaMathQA and GSM8K: what is trained on, what is left out, and how a solution is scored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tradeoff import domains

METAMATH = domains.build({"domain": "metamath"})

GSM8K = [
    {
        "question": "Janet's ducks lay 16 eggs a day. She eats 7 and sells the rest at $2 each. What does she make?",
        "answer": "She sells 16 - 7 = <<16-7=9>>9 eggs.\nShe makes 9 * 2 = $<<9*2=18>>18.\n#### 18",
    },
    {"question": "A town of 1,000 grows by 200. How many live there?", "answer": "1000 + 200 = 1,200\n#### 1,200"},
    {"question": "It is 3 degrees and falls by 8. What is it now?", "answer": "3 - 8 = -5\n#### -5 "},
]
TRAIN = [
    {
        "query": f"What is {i} plus {i}?",
        "response": f"{i} + {i} = {2 * i}\n#### {2 * i}\nThe answer is: {2 * i}",
        "type": "GSM_Rephrased",
        "original_question": f"How much are {i} and {i}?",
    }
    for i in range(40)
]


@pytest.fixture
def write(tmp_path):
    def to(train=TRAIN, test=GSM8K):
        files = {"metamath": tmp_path / "train.json", "gsm8k_test": tmp_path / "test.jsonl"}
        files["metamath"].write_text(json.dumps(train))
        files["gsm8k_test"].write_text("".join(json.dumps(row) + "\n" for row in test))
        return files

    return to


def test_the_domain():
    assert METAMATH.excludes == {"gsm8k"}
    assert [m.name for m in METAMATH.metrics] == ["exact_match"]
    assert METAMATH.data("train") == ("metamath", "gsm8k_test")
    assert METAMATH.data("test") == ("gsm8k_test",)
    assert METAMATH.max_new_tokens == 512
    read = TypeAdapter(domains.kind("metamath")).validate_json('{"max_new_tokens": 300}', strict=True)
    assert read.max_new_tokens == 300


def test_a_solution_is_written_as_the_training_responses_are(write):
    drawn = {e.id: e for e in METAMATH.examples("test", None, 0, write())}
    asks = '\n\nSolve it step by step, and end with a line "The answer is: <number>".'
    assert drawn["test-000001"] == domains.Example(
        "test-000001",
        ({"role": "user", "content": GSM8K[0]["question"] + asks},),
        "She sells 16 - 7 = 9 eggs.\nShe makes 9 * 2 = $18.\n#### 18\nThe answer is: 18",
        {"number": "18"},
    )
    assert {e.answer["number"] for e in drawn.values()} == {"18", "1200", "-5"}
    for e in drawn.values():
        assert METAMATH.score(e.response, e.answer) == domains.Outcome({"exact_match": 1.0})
    trained = {e.id: e for e in METAMATH.examples("train", None, 0, write())}["train-000010"]
    assert trained == domains.Example(
        "train-000010",
        ({"role": "user", "content": "What is 9 plus 9?" + asks},),
        "9 + 9 = 18\n#### 18\nThe answer is: 18",
        {"number": "18"},
    )


def test_a_draw_repeats_and_a_shorter_one_is_its_start(write):
    files = write()
    whole = METAMATH.examples("train", None, 3, files)
    assert len({e.id for e in whole}) == 40
    assert METAMATH.examples("train", 40, 3, files) == whole
    assert METAMATH.examples("train", 7, 3, files) == whole[:7]
    assert METAMATH.examples("train", 7, 4, files) != whole[:7]
    with pytest.raises(ValueError) as error:
        METAMATH.examples("test", 4, 3, files)
    told = "gives 3 examples, and 4 are asked for; ask for at most 3"
    assert str(error.value) == f"{files['gsm8k_test']}: {told}"


def test_a_training_row_of_a_test_question_is_dropped_and_told(write, capsys):
    leaks = [
        {**TRAIN[0], "query": GSM8K[0]["question"].upper().replace(" ", "  ")},
        {**TRAIN[1], "original_question": GSM8K[1]["question"]},
    ]
    lone = {key: TRAIN[2][key] for key in ("query", "response")}
    files = write(train=[lone, *leaks, *TRAIN[3:]])
    drawn = METAMATH.examples("train", None, 0, files)
    assert len(drawn) == 38
    assert not {"train-000002", "train-000003"} & {e.id for e in drawn}
    told = f"2 training rows dropped, since the question is in {files['gsm8k_test']}: row 2 first\n"
    assert capsys.readouterr().out == told


def test_a_training_answer_need_not_be_a_number(write):
    row = {**TRAIN[0], "response": "It is a circle.\nThe answer is: \\text{a circle}"}
    (example,) = METAMATH.examples("train", None, 0, write(train=[row]))
    assert example.answer == {"number": None}
    assert METAMATH.score("The answer is: 3", example.answer) == domains.Outcome({"exact_match": 0.0})


@pytest.mark.parametrize(
    ("split", "changes", "message"),
    [
        ("train", {"train": [TRAIN[0], {"query": "a"}]}, "train.json, row 2: 'response' is missing or empty"),
        ("train", {"train": [{**TRAIN[0], "query": " "}]}, "train.json, row 1: 'query' is missing or empty"),
        ("train", {"train": [TRAIN[0], 7]}, "train.json, row 2: is no object"),
        ("train", {"test": [{"query": "a"}]}, "test.jsonl, row 1: 'question' is missing or empty"),
        ("test", {"test": [{"answer": "#### 1"}]}, "test.jsonl, row 1: 'question' is missing or empty"),
        ("test", {"test": [{"question": "a", "answer": None}]}, "test.jsonl, row 1: 'answer' is missing or empty"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(write, tmp_path, split, changes, message):
    with pytest.raises(ValueError) as error:
        METAMATH.examples(split, None, 0, write(**changes))
    assert str(error.value) == f"{tmp_path}/{message}; use the file that the authors publish"


@pytest.mark.parametrize("answer", ["18", "#### eighteen", "#### 18 eggs", "####", "#### nan", "#### inf"])
def test_a_solution_without_its_number_is_refused(write, tmp_path, answer):
    with pytest.raises(ValueError) as error:
        METAMATH.examples("test", None, 0, write(test=[{"question": "a", "answer": answer}]))
    told = "'answer' does not end with #### and a number; use GSM8K's own file"
    assert str(error.value) == f"{tmp_path}/test.jsonl, row 1: {told}"


@pytest.mark.parametrize(
    ("response", "right", "invalid"),
    [
        ("9 * 2 = 18\n#### 18\nThe answer is: 18", 1, False),
        ("The answer is: $18.00.", 1, False),
        ("So she makes 9 * 2 = **$18**.", 1, False),
        ("18 - 1 = 17\nThe answer is: 17", 0, False),
        ("I cannot tell.", 0, True),
        ("", 0, True),
    ],
)
def test_the_number_counts_and_not_how_it_is_written(response, right, invalid):
    assert METAMATH.score(response, {"number": "18"}) == domains.Outcome({"exact_match": float(right)}, invalid)


@given(text=st.text() | st.from_regex(r"(the answer is: ?|####|[-+0-9.,eE/ $\n]){0,20}", fullmatch=True))
def test_score_takes_any_text(text):
    for number in ("18", None):
        outcome = METAMATH.score(text, {"number": number})
        assert outcome.values["exact_match"] in (0.0, 1.0)
        assert not (outcome.invalid and outcome.values["exact_match"])
