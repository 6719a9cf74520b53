"""The generated domains: draws that repeat and keep apart, references that score, readings a person would make."""

import dataclasses
import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeoff import domains
from tradeoff.domains import _medcalc_rules, medcalc_mini, orders_mini, shop_mini

NAMES = ("medcalc_mini", "shop_mini", "orders_mini")
SCORES = [c for c in medcalc_mini._CALCULATORS if c.kind == "integer"]
SHARES = {"Exact": 0.42, "Substitute": 0.26, "Complement": 0.14, "Irrelevant": 0.18}


@pytest.fixture(params=NAMES)
def domain(request):
    return domains.kind(request.param)()


def question(example):
    return example.messages[-1]["content"]


# Every domain


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_draw_repeats_and_a_shorter_one_is_its_start(domain, split):
    draw = domain.examples(split, 120, seed=3, files={})
    assert domain.examples(split, 120, seed=3, files={}) == draw
    assert domain.examples(split, 40, seed=3, files={}) == draw[:40]
    assert domain.examples(split, 120, seed=4, files={}) != draw


def test_a_draw_has_the_asked_length_and_no_question_twice(domain):
    for split in ("train", "test"):
        draw = domain.examples(split, 400, seed=0, files={})
        assert len(draw) == 400
        assert len({e.id for e in draw}) == len({question(e) for e in draw}) == 400
    assert domain.examples("train", 0, seed=0, files={}) == []


def test_no_question_is_in_both_splits(domain):
    train, test = (
        {question(e) for seed in range(4) for e in domain.examples(split, 250, seed, files={})}
        for split in ("train", "test")
    )
    assert len(train) > 800
    assert len(test) > 800
    assert not train & test


def test_the_split_hangs_on_what_matters_to_the_answer():
    """Another age or another wording does not carry a question over to the other split."""
    gap = next(c for c in medcalc_mini._CALCULATORS if c.name == "Anion gap")
    values = {"sodium": (140, "mEq/L"), "chloride": (100, "mEq/L"), "bicarbonate": (20, "mEq/L")}
    patients = ({"age": (age, "years"), "sex": sex} for age in range(18, 60) for sex in ("Female", "Male"))
    assert len({medcalc_mini._split(gap, patient | values) for patient in patients}) == 1

    product = shop_mini._Item("teas", "green tea", {"brand": "Belmo", "form": "tea bags", "pack": "100 g"})
    query = {"brand": "Belmo", "pack": "250 g"}
    reordered = dict(reversed(query.items()))
    one, other = (shop_mini._Item("teas", "green tea", attributes) for attributes in (query, reordered))
    assert shop_mini._split(one, product) == shop_mini._split(other, product)


def test_the_reference_scores_one(domain):
    for e in domain.examples("test", 300, seed=1, files={}):
        assert domain.score(e.response, e.answer) == domains.Outcome({m.name: 1.0 for m in domain.metrics}), e.id


def test_examples_follow_the_contract(domain):
    for e in domain.examples("train", 100, seed=0, files={}):
        assert [m["role"] for m in e.messages] in (["user"], ["system", "user"])
        assert json.loads(json.dumps(e.answer)) == e.answer
        assert e.response == e.response.strip()
        assert len(e.response.split()) <= domain.max_new_tokens
    assert all(m.balanced_by is None or m.balanced_by in e.answer for m in domain.metrics)


def test_a_used_up_pool_is_an_error_that_says_how_many_there_are(monkeypatch):
    tea = shop_mini._Category(
        types=("green tea", "black tea"), attributes={"form": ("loose leaf",), "pack": ("100 g",)}
    )
    monkeypatch.setattr(shop_mini, "_CATALOGUE", {"teas": tea})
    monkeypatch.setattr(shop_mini, "_SHARES", {"Exact": 1.0, "Substitute": 0.0, "Complement": 0.0, "Irrelevant": 0.0})
    with pytest.raises(ValueError, match=r"at most (\d+)") as error:
        domains.kind("shop_mini")().examples("train", 5000, seed=0, files={})
    possible = int(re.search(r"at most (\d+)", str(error.value))[1])
    assert len(domains.kind("shop_mini")().examples("train", possible, seed=0, files={})) == possible


@given(text=st.text() | st.from_regex(r"\**answer\**: ?[-+0-9.,eE/ x^*()]{0,20}", fullmatch=True))
def test_score_takes_any_text(text):
    for name, answers in ANSWERS.items():
        for answer in answers:
            outcome = domains.kind(name)().score(text, answer)
            assert set(outcome.values) == {m.name for m in domains.kind(name)().metrics}
            assert all(0.0 <= value <= 1.0 for value in outcome.values.values())
            assert not (outcome.invalid and any(outcome.values.values()))


# MedCalc-mini


def test_a_small_draw_covers_calculators_and_kinds_evenly():
    count = len(medcalc_mini._CALCULATORS)
    draw = domains.kind("medcalc_mini")().examples("test", 3 * count, seed=0, files={})
    calculators = Counter(e.answer["calculator"] for e in draw)
    assert 16 <= count == len(calculators) <= 17
    assert set(calculators.values()) == {3}
    kinds = {e.answer["calculator"]: e.answer["kind"] for e in draw}
    assert Counter(kinds.values()) == {"decimal": 7, "integer": 8, "date": 1}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_scores_spread_over_few_criteria_and_no_value_is_the_rule(split):
    draw = domains.kind("medcalc_mini")().examples(split, 40 * len(medcalc_mini._CALCULATORS), seed=1, files={})
    values = {c.name: Counter(e.answer["value"] for e in draw if e.answer["calculator"] == c.name) for c in SCORES}
    assert all(set(scores) >= {0, 1, 2, 3} for scores in values.values())
    assert all(max(scores.values()) <= 0.45 * scores.total() for scores in values.values())
    # A small draw has them all as well, over its calculators.
    small = Counter(e.answer["value"] for e in draw[:40] if e.answer["kind"] == "integer")
    assert set(small) >= {0, 1, 2, 3}
    assert max(small.values()) <= 0.5 * small.total()


def test_the_working_of_a_score_adds_up_to_it():
    for e in domains.kind("medcalc_mini")().examples("train", 320, seed=2, files={}):
        if e.answer["kind"] == "integer":
            *sums, conclusion, _ = e.response.splitlines()
            total = 0
            for step in sums:
                found = re.fullmatch(r"[A-Z][^.]*: (\d+) \+ ([12]) = (\d+)\.", step)
                assert found, step
                assert int(found[1]) == total
                total += int(found[2])
                assert int(found[3]) == total
            assert total == e.answer["value"]
            assert str(total) in conclusion


@pytest.mark.parametrize(
    ("name", "inputs", "steps"),
    [
        (
            "CURB-65",
            {
                "age": (70, "years"),
                "confusion": True,
                "bun": (20, "mg/dL"),
                "respiratory_rate": (32, ""),
                "sys_bp": (110, "mm Hg"),
                "dia_bp": (60, "mm Hg"),
            },
            [
                "Age is greater than or equal to 65: 0 + 1 = 1.",
                "Confusion: 1 + 1 = 2.",
                "BUN concentration is greater than 19: 2 + 1 = 3.",
                "Respiratory rate is greater than 30: 3 + 1 = 4.",
                "Diastolic blood pressure is 60: 4 + 1 = 5.",
                "The patient's CURB-65 score is 5.",
            ],
        ),
        (
            "Wells DVT",
            {"active_cancer": True, "leg_swollen": False, "previous_dvt": True},
            [
                "Active cancer: 0 + 1 = 1.",
                "Previously documented DVT: 1 + 1 = 2.",
                "The Well's DVT score for the patient is 2.",
            ],
        ),
        (
            "Maintenance fluid",
            {"weight": (12.5, "kg")},
            ["40 + 2 * (12.5 - 10) = 45.0.", "The patient's fluid maintenance is 45.0 mL/hr."],
        ),
    ],
)
def test_a_working_keeps_the_criteria_and_the_sums(name, inputs, steps):
    calculator = next(c for c in medcalc_mini._CALCULATORS if c.name == name)
    assert medcalc_mini._steps(calculator.explain(dict(inputs))["Explanation"]) == steps


def test_the_response_ends_with_its_only_answer_line():
    for e in domains.kind("medcalc_mini")().examples("train", 200, seed=0, files={}):
        *steps, last = e.response.splitlines()
        assert len(steps) > (e.answer["kind"] == "decimal")
        assert last == f"Answer: {e.answer['value']}"
        assert str(e.answer["value"]) in steps[-1]
        assert not any("answer" in step.lower() or "  " in step for step in steps)


def test_the_note_tells_every_input():
    for calculator in medcalc_mini._CALCULATORS:
        rng = medcalc_mini.random.Random(calculator.name)
        for _ in range(20):
            inputs = medcalc_mini._inputs(calculator, rng)
            told = [i for i in calculator.inputs if i.key in inputs]
            text = medcalc_mini._question(calculator, inputs, rng)
            assert len(told) == (calculator.told or len(calculator.inputs))
            assert all(i.tell(inputs[i.key]) in text for i in told)
            assert f"{inputs['age'][0]}-year-old" in text


@pytest.mark.parametrize(
    ("name", "inputs", "value"),
    [
        ("Anion gap", {"sodium": (140, "mEq/L"), "chloride": (100, "mEq/L"), "bicarbonate": (24, "mEq/L")}, 16),
        ("Delta gap", {"sodium": (140, "mEq/L"), "chloride": (100, "mEq/L"), "bicarbonate": (10, "mEq/L")}, 18),
        ("Corrected calcium", {"albumin": (2.5, "g/dL"), "calcium": (8.0, "mg/dL")}, 9.2),
        (
            "LDL cholesterol",
            {
                "total_cholestrol": (200, "mg/dL"),
                "hdl_cholestrol": (50, "mg/dL"),
                "triglycerides": (150, "mg/dL"),
            },
            120,
        ),
        ("Mean arterial pressure", {"sys_bp": (120, "mm Hg"), "dia_bp": (80, "mm Hg")}, 93.333),
        ("Maintenance fluid", {"weight": (12.5, "kg")}, 45.0),
        ("Corrected sodium", {"sodium": (135, "mEq/L"), "glucose": (350, "mg/dL")}, 141.0),
        ("Conception date", {"menstrual_date": "12/25/2019"}, "01/08/2020"),
        (
            "CHA2DS2-VASc",
            {"age": (76, "years"), "sex": "Female", "stroke": True, "chf": False, "diabetes": False},
            5,
        ),
        (
            "HAS-BLED",
            {"age": (66, "years"), "alcoholic_drinks": 8, "hypertension": True, "stroke": False, "labile_inr": True},
            4,
        ),
        (
            "Centor score",
            {"age": (10, "years"), "temperature": (38.5, "degrees celsius"), "cough_absent": True},
            3,
        ),
        ("FeverPAIN", {"fever_24_hours": True, "purulent_tonsils": True, "symptom_onset": False}, 2),
        ("PERC rule", {"age": (50, "years"), "heart_rate": (100, ""), "oxygen_sat": (94, "%"), "hemoptysis": True}, 4),
        (
            "Revised cardiac risk index",
            {"ischemetic_heart_disease": True, "pre_operative_creatinine": (2.5, "mg/dL")},
            2,
        ),
    ],
)
def test_the_package_gives_the_value_of_the_textbook(name, inputs, value):
    calculator = next(c for c in medcalc_mini._CALCULATORS if c.name == name)
    assert calculator.explain(dict(inputs))["Answer"] == value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.5", 1234.5),
        ("1,200", 1200),
        ("1,234,567 IU", 1234567),
        ("66.1 mL/min per 1.73 m2", 66.1),
        ("66.1mL/min", 66.1),
        ("53.1%", 53.1),
        ("1.2e3", 1200),
        ("1.2E-3", 0.0012),
        ("1.2 x 10^3", 1200),
        ("1.2 × 10**3", 1200),
        ("score is 7 (class 2)", 7),
        ("3 out of 5", 3),
        ("-4.5", -4.5),
        ("−4.5 mmol/L", -4.5),
        ("+4", 4),
        (".5", 0.5),
        ("14.", 14),
        ("= 14.0 mEq/L.", 14),
        ("the CHA2DS2-VASc score is 3", 3),
        ("CURB-65 = 2", 2),
        ("1,23", None),
        ("1.2.3", None),
        ("1e999", None),
        ("nan", None),
        ("inf", None),
        ("-", None),
        ("", None),
        ("not enough information", None),
        ("150 - (90 + 12) = 48 mEq/L", 48),
        ("BMI = 70 / 3 = 23.3", 23.3),
        ("a ratio = high", None),
        ("7 points = low risk", 7),
    ],
)
def test_a_number_is_read_as_a_person_would(text, number):
    assert _medcalc_rules.read_answer(f"Because 5 + 5 = 10.\nAnswer: {text}", "decimal") == number


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("3/5/2023", "03/05/2023"),
        ("03/05/2023.", "03/05/2023"),
        ("the due date is 12/31/2024", "12/31/2024"),
        ("2023-03-05", None),
        ("13/01/2023", None),
        ("2/30/2023", None),
        ("3/5/23", None),
        ("0/0/0000", None),
    ],
)
def test_a_date_is_read_as_month_day_year(text, date):
    assert _medcalc_rules.read_answer(f"Answer: {text}", "date") == date


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("Answer: 1\nno, wait\nAnswer: 2", 2),
        ("answer: 2", 2),
        ("ANSWER : 2", 2),
        ("**Answer:** 2", 2),
        ("**Answer: 2**", 2),
        ("  Answer: `2`", 2),
        ("Answer: **2** mg", 2),
        ("Answer: 2\nAnswer: none", None),
        ("The answer: 2", None),
        ("Answer:\n2", None),
        ("2", None),
        ("", None),
    ],
)
def test_the_last_answer_line_counts(response, number):
    assert _medcalc_rules.read_answer(response, "decimal") == number


@pytest.mark.parametrize(
    ("kind", "truth", "text", "right"),
    [
        ("decimal", 14, "13.3", True),
        ("decimal", 14, "14.7", True),
        ("decimal", 14, "13.29", False),
        ("decimal", 14, "14.71", False),
        ("decimal", -2.0, "-1.9", True),
        ("decimal", -2.0, "-2.1", True),
        ("decimal", -2.0, "-2.2", False),
        ("decimal", -2.0, "2", False),
        ("decimal", 0, "0", True),
        ("integer", 3, "3.0", True),
        ("integer", 3, "3.4", True),
        ("integer", 3, "4", False),
        ("integer", 2, "2.5", True),  # Python rounds half to even, as the official rule does.
        ("integer", 3, "2.5", False),
        ("integer", 3, "1e300", False),
        ("date", "03/05/2023", "3/5/2023", True),
        ("date", "03/05/2023", "03/06/2023", False),
    ],
)
def test_the_official_tolerances_hold(kind, truth, text, right):
    lower, upper = _medcalc_rules.limits(truth, kind)
    answer = {"kind": kind, "value": truth, "lower": lower, "upper": upper}
    outcome = domains.kind("medcalc_mini")().score(f"Answer: {text}", answer)
    assert outcome == domains.Outcome({"accuracy": float(right)})


def test_what_cannot_be_read_is_invalid_and_wrong():
    for name, answers in ANSWERS.items():
        for answer in answers:
            outcome = domains.kind(name)().score("I cannot tell.\nAnswer: unknown", answer)
            assert outcome.invalid or name == "orders_mini"  # any words can have some in common
            assert not any(outcome.values.values())


# Shop-mini


def test_the_labels_come_in_their_shares():
    draw = domains.kind("shop_mini")().examples("train", 1500, seed=0, files={})
    labels = Counter(e.answer["label"] for e in draw)
    assert {label: labels[label] / len(draw) for label in labels} == pytest.approx(SHARES, abs=0.04)
    for seed in range(5):
        small = Counter(e.answer["label"] for e in domains.kind("shop_mini")().examples("test", 60, seed, files={}))
        assert len(small) == 4
    assert {e.response for e in draw} == set(SHARES)


def test_the_rule_of_the_labels():
    query = shop_mini._Item("pans", "wok", {"size": "24 cm", "material": "steel"})
    product = shop_mini._Item(
        "pans", "wok", {"brand": "Belmo", "size": "24 cm", "material": "steel", "handle": "steel handle"}
    )
    smaller = dataclasses.replace(product, attributes={**product.attributes, "size": "20 cm"})
    lid = shop_mini._Item("pan lids", "pan lid", {"brand": "Belmo", "size": "24 cm", "material": "steel"})
    tea = shop_mini._Item("teas", "green tea", {"brand": "Belmo"})
    assert shop_mini._label(query, product) == "Exact"
    assert shop_mini._label(query, smaller) == "Substitute"
    assert shop_mini._label(query, dataclasses.replace(product, type="saucepan")) == "Substitute"
    assert shop_mini._label(query, lid) == shop_mini._label(lid, product) == "Complement"
    assert shop_mini._label(query, tea) == "Irrelevant"


def test_every_label_is_possible_for_every_category_and_every_missed_attribute():
    for name, category in shop_mini._CATALOGUE.items():
        assert len(category.types) > 1
        assert all(len(values) > 1 for values in category.attributes.values())
        assert any(name in pair for pair in shop_mini._GO_TOGETHER)
    assert frozenset.union(*shop_mini._GO_TOGETHER) == set(shop_mini._CATALOGUE)


@pytest.mark.parametrize(
    ("response", "right", "invalid"),
    [
        ("Substitute", 1.0, False),
        ("substitute.", 1.0, False),
        ("**Substitute**", 1.0, False),
        ("The label is SUBSTITUTE, not Exact", 1.0, False),
        ("Exact or Substitute", 0.0, False),
        ("Not exactly: substitute", 1.0, False),
        ("substitutes", 0.0, True),
        ("", 0.0, True),
    ],
)
def test_the_first_label_counts(response, right, invalid):
    outcome = domains.kind("shop_mini")().score(response, {"label": "Substitute"})
    assert outcome == domains.Outcome({"balanced_accuracy": right, "accuracy": right}, invalid)


# Orders-mini


def test_the_line_has_the_words_of_the_message():
    for e in domains.kind("orders_mini")().examples("test", 200, seed=3, files={}):
        item, number, day = e.response.split("; ")
        assert f"{number} {item}" in e.messages[0]["content"]
        assert day in e.messages[0]["content"]
        assert day in orders_mini._DAYS
    assert all(part in pattern for pattern in orders_mini._PATTERNS for part in ("{number} {item}s", "{day}"))


@pytest.mark.parametrize(
    ("response", "f1", "exact"),
    [
        ("kettles; three; Friday", 1.0, 1.0),
        (" Kettles;  three; friday\n", 1.0, 1.0),
        ("kettles, three, Friday", 1.0, 0.0),
        ("We need three kettles on Friday.", 2 * 3 / (6 + 3), 0.0),
        ("lamps; three; Friday", 2 * 2 / (3 + 3), 0.0),
        ("no", 0.0, 0.0),
    ],
)
def test_words_in_common_earn_a_part(response, f1, exact):
    outcome = domains.kind("orders_mini")().score(response, {"line": "kettles; three; Friday"})
    assert outcome.values == pytest.approx({"f1": f1, "exact": exact})


ANSWERS = {
    "medcalc_mini": [
        {"kind": "decimal", "value": 14, "lower": 13.3, "upper": 14.7},
        {"kind": "integer", "value": 3, "lower": 3, "upper": 3},
        {"kind": "date", "value": "03/05/2023", "lower": "03/05/2023", "upper": "03/05/2023"},
    ],
    "shop_mini": [{"label": label} for label in SHARES],
    "orders_mini": [{"line": "kettles; three; Friday"}],
}
