"""Scorers of free text, of JSON and of programs, and a function of one's own."""

import json
import re
import string
import sys
import time
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.chrf import CHRF

from tradeoff import domains, sources
from tradeoff.domains import Outcome, _programs
from tradeoff.errors import UserError
from tradeoff.study import Study, StudyError, load

GRADED = ("f1", "rouge_l", "chrf")
METRICS = {
    **{name: [name] for name in GRADED},
    "json": ["json_fields", "json_equal", "json_valid"],
    "json_valid": ["json_valid"],
    "code": ["passed"],
    "mine.py:score": ["score"],
}


def domain(scorer, **options):
    return domains.build({"domain": "custom", "train": "a.csv", "test": "b.csv", "scorer": scorer, **options})


def score(scorer, response, answer, **options):
    known = domain(scorer, **options)
    return known.score(response, {known._scorer.key: known._scorer.wanted(answer)})


@pytest.mark.parametrize(("scorer", "metrics"), METRICS.items())
def test_each_scorer_s_metrics(scorer, metrics):
    assert [metric.name for metric in domain(scorer).metrics] == metrics
    assert domain(scorer).runs_code == (scorer == "code")
    assert domain(scorer).scored_by() == (("mine.py",) if ":" in scorer else ())


# Overlap


@pytest.mark.parametrize(
    ("scorer", "response", "answer", "value"),
    [
        ("f1", "The cat sat", "a cat sat down", 2 * 2 / (2 + 3)),
        ("f1", "It is a cat.\nAnswer: the Cat!", "cat", 1),
        ("f1", "cat", ["dog", "a cat"], 1),
        ("f1", "dog dog", "dog", 2 / 3),
        ("f1", "the", "a", 1),
        ("f1", "the", "dog", 0),
        ("f1", "今天天气", "今天下雨", 0.5),
        ("f1", "", "dog", 0),
        ("rouge_l", "the cat sat on the mat", "the cat on a mat", 2 * (4 / 6) * (4 / 5) / (4 / 6 + 4 / 5)),
        ("rouge_l", "привет мир", "Привет, мир!", 1),
        ("rouge_l", "mat the on", "on the mat", 1 / 3),
        ("chrf", "the cat", "the cat", 1),
        ("chrf", "xyz", "the cat", 0),
    ],
)
def test_overlap(scorer, response, answer, value):
    assert score(scorer, response, answer).values[scorer] == pytest.approx(value)
    assert score(scorer, response, answer).invalid == (not response)


def test_case_counts_when_it_is_asked_to():
    for scorer in GRADED:
        assert score(scorer, "CAT", "cat").values[scorer] == 1
        assert score(scorer, "CAT", "cat", ignore_case=False).values[scorer] == 0


WORDS = st.lists(st.sampled_from(["the", "cat", "Dog's", "sat,", "on", "a", "mat.", "b-c", "7"]), max_size=8).map(
    " ".join
)


@given(WORDS, WORDS.filter(str.strip))
def test_scores_are_those_of_the_packages_and_of_squad(response, answer):
    found = {scorer: score(scorer, response, answer).values[scorer] for scorer in GRADED}
    if not response:
        assert set(found.values()) == {0}
        return
    rouge = RougeScorer(["rougeL"], use_stemmer=False).score(answer, response)["rougeL"].fmeasure
    assert found["rouge_l"] == pytest.approx(rouge)
    assert found["chrf"] == pytest.approx(CHRF().sentence_score(response.lower(), [answer.lower()]).score / 100)
    assert found["f1"] == pytest.approx(squad(response, answer))


def squad(prediction, truth):
    """F1 of SQuAD's evaluation script, version 1.1."""

    def tokens(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    ours, theirs = tokens(prediction), tokens(truth)
    if not ours or not theirs:
        return float(ours == theirs)
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 0.0 if not same else 2 * same / (len(ours) + len(theirs))


@pytest.mark.parametrize("scorer", [*GRADED, "json", "json_valid"])
@pytest.mark.parametrize("piece", ["a ", "ab", "[", '{"a":', "```json\n", "é", "今"])
def test_long_texts_take_no_long_time(scorer, piece):
    start = time.monotonic()
    score(scorer, piece * (100_000 // len(piece)), '{"a": "a b a"}')
    assert time.monotonic() - start < 5


@given(
    text=st.text() | st.from_regex(r'(```json\n)?[{\[]?("a": ?[-0-9.e"nul]{0,9},?){0,3}[}\]]?(\n```)?', fullmatch=True)
)
def test_score_takes_any_text_and_gives_a_share(text):
    for scorer in (*GRADED, "json", "json_valid"):
        outcome = score(scorer, text, '{"a": 1}')
        assert list(outcome.values) == METRICS[scorer]
        assert all(0 <= value <= 1 for value in outcome.values.values())


# JSON

ANSWER = {"name": "Ann", "age": Decimal(3), "tags": ["x", "y"], "no": None}


@pytest.mark.parametrize(
    ("response", "fields", "equal", "valid"),
    [
        ('{"name": "ann", "age": 3.0, "tags": ["x", "y"], "no": null}', 1, 1, 1),
        ('Here it is:\n```json\n{"age": 3, "name": "Ann", "tags": ["x", "y"], "no": null}\n```\nDone.', 1, 1, 1),
        ('Answer: {"name": "Ann", "age": 3, "tags": ["x", "y"], "no": null}', 1, 1, 1),
        ('{"name": "Ann", "age": "3", "tags": ["x", "y"], "no": null}', 4 / 6, 0, 1),
        ('{"name": "Ann", "age": 3, "tags": ["y", "x"], "no": null}', 3 / 7, 0, 1),
        ('{"name": "Ann"}', 1 / 5, 0, 1),
        ("{}", 0, 0, 1),
        ("[]", 0, 0, 1),
        ('"Ann"', 0, 0, 0),
        ('{"name": "Ann", "name": "Bob"}', 0, 0, 0),
        ('{"name": NaN}', 0, 0, 0),
        ("Ann", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_json_is_compared_field_by_field(response, fields, equal, valid):
    outcome = score("json", response, ANSWER)
    assert outcome.values == pytest.approx({"json_fields": fields, "json_equal": equal, "json_valid": valid})
    assert outcome.invalid == (not valid)
    assert score("json_valid", response, None).values == {"json_valid": valid}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, list | dict))


@given(JSON, JSON)
def test_json_equals_itself_however_it_is_spelled(value, other):
    for spelled in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)):
        assert score("json", spelled, json.dumps(value)).values == {"json_fields": 1, "json_equal": 1, "json_valid": 1}
    there, back = (score("json", json.dumps(a), json.dumps(b)).values for a, b in ((value, other), (other, value)))
    assert there == back


# Programs

ADD = "```python\ndef add(a, b):\n    return a + b\n```"


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
@pytest.mark.parametrize(
    ("response", "passed", "invalid"),
    [
        (ADD, 1, False),
        ("def add(a, b):\n    return a - b", 0, False),
        ("import sys\nsys.exit(0)\n\ndef add(a, b):\n    return 0", 0, False),
        ("I cannot.", 0, True),
    ],
)
def test_code_passes_given_tests_in_the_sandbox(response, passed, invalid):
    tests = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]
    assert score("code", response, tests) == Outcome({"passed": passed}, invalid=invalid)


@pytest.mark.parametrize(
    "answer", ["print(1)", "assert 1 == 1", "assert len([]) == 0", "assert add(", "", ["assert add(1)", 3]]
)
def test_tests_that_test_nothing_are_refused(answer):
    with pytest.raises(ValueError, match=r"^'answer' (should be|is empty).*; "):
        domain("code")._scorer.wanted(answer)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(*found):
    return "\n".join(map(json.dumps, found))


def test_a_test_row_s_own_code_has_to_pass(here):
    good = {"prompt": "Add.", "response": ADD, "answer": "assert add(1, 2) == 3"}
    (here / "test.jsonl").write_text(rows(good))
    (here / "train.jsonl").write_text(rows({"prompt": "Any.", "response": "pass"}))
    known = domains.build({"domain": "custom", "train": "train.jsonl", "test": "test.jsonl", "scorer": "code"})
    files = {name: here / name for name in ("train.jsonl", "test.jsonl")}
    assert known.examples("test", None, 0, files)[0].answer == {"tests": ["assert add(1, 2) == 3"]}
    assert known.examples("train", None, 0, files)[0].answer == {"tests": []}
    (here / "test.jsonl").write_text(rows(good, {**good, "answer": "assert add(1, 2) == 4"}))
    with pytest.raises(ValueError, match=r"^test.jsonl, row 2: 'response' itself is wrong by its 'answer'"):
        known.examples("test", None, 0, files)


OWN = "def score(response, answer):\n    return {}\n"


@pytest.mark.parametrize(
    ("body", "value", "invalid"),
    [
        ("len(response) / 10", 0.3, False),
        ("response == answer", 1, False),
        ("None", 0, True),
        ("answer['n'] == 2 and type(answer['n']) is int and type(answer['x']) is float", 1, False),
    ],
)
def test_a_function_of_one_s_own_scores(here, body, value, invalid):
    (here / "mine.py").write_text(OWN.format(body))
    answer = {"n": Decimal(2), "x": Decimal("0.5")} if "'n'" in body else "abc"
    assert score("mine.py:score", "abc", answer) == Outcome({"score": pytest.approx(value)}, invalid=invalid)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "mine.py cannot be read (No such file or directory); name a file of Python"),
        ("def other(): pass", "mine.py has no function score; define it as def score(response, answer)"),
        ("def (", "mine.py cannot be loaded"),
        (
            OWN.format("1 / 0"),
            "raised ZeroDivisionError (division by zero) for the response 'abc'; correct the function",
        ),
        (OWN.format("2"), "gave 2 for the response 'abc'; it should give a number from 0 to 1, or None"),
        (OWN.format("float('nan')"), "gave nan for the response 'abc'; it should give a number from 0 to 1, or None"),
        (OWN.format("'1'"), "gave '1' for the response 'abc'; it should give a number from 0 to 1, or None"),
    ],
)
def test_a_faulty_function_of_one_s_own_is_told_in_one_line(here, text, told):
    if text is not None:
        (here / "mine.py").write_text(text)
    with pytest.raises(UserError) as error:
        score("mine.py:score", "abc", "abc")
    assert str(error.value).startswith(f"scorer mine.py:score: {told}")
    assert "\n" not in str(error.value)


STUDY = """
study: small
models: {tiny: {source: "folder:somewhere"}}
domains: {own: {domain: custom, train: train.jsonl, test: test.jsonl, scorer: SCORER}}
methods: {sft: {recipe: sft}}
learning_rates: [1e-5]
seeds: [0]
general: [ifeval_mini]
data: {train: 1, test: all}
training: {epochs: 1, batch_size: 2}
evaluation: {items: 8}
"""


def test_a_function_s_content_is_part_of_what_is_evaluated_and_of_nothing_that_is_trained(here):
    for name in ("train", "test"):
        (here / f"{name}.jsonl").write_text(rows({"prompt": name, "response": "4"}))
    (here / "study.yaml").write_text(STUDY.replace("SCORER", "mine.py:score"))
    with pytest.raises(
        UserError, match=r"^domains\.own: there is no file mine\.py; paths start at the working folder$"
    ):
        load(here / "study.yaml").check_files()
    specs = []
    for body in ("0.5", "0.6"):
        (here / "mine.py").write_text(OWN.format(body))
        sources.sha256.cache_clear()
        asked: Study = load(here / "study.yaml")
        asked.check_files()
        specs.append((asked.benchmark_spec("own"), asked.data_spec("own", "train")))
    assert specs[0][0] != specs[1][0]
    assert specs[0][1] == specs[1][1]


def test_code_that_models_write_has_to_be_allowed(here):
    (here / "study.yaml").write_text(STUDY.replace("SCORER", "code"))
    with pytest.raises(
        StudyError, match=r"domains\.own: runs code that the models write, .*allow_code_execution: true"
    ):
        load(here / "study.yaml")
    (here / "study.yaml").write_text(
        STUDY.replace("SCORER", "code").replace("items: 8", "items: 8, allow_code_execution: true")
    )
    assert load(here / "study.yaml").domains["own"].runs_code


def test_the_function_that_is_called_is_the_first_that_is_not_python_s():
    assert _programs._function_of(["x = 1", "assert sorted(f(2)) == g(1)"]) == "g"
