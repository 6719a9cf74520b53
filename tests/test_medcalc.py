"""MedCalc-Bench: a small file drawn from, and answers read as a person and as the benchmark's own code would."""

import csv
import datetime
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tradeoff import domains
from tradeoff.domains import _medcalc_official as official
from tradeoff.domains import medcalc

COLUMNS = [
    *("Row Number", "Calculator ID", "Calculator Name", "Category", "Output Type", "Note ID", "Note Type"),
    *("Patient Note", "Question", "Relevant Entities", "Ground Truth Answer", "Lower Limit", "Upper Limit"),
    "Ground Truth Explanation",
]
MEDCALC = domains.build({"domain": "medcalc"})


def row(calculator, category, kind, note, truth, lower=None, upper=None, explanation="It is so."):
    name, question, entities = f"Calculator {calculator}", f"What is value {calculator}? ", "{}"
    limits = (lower or truth, upper or truth)
    cells = (calculator, name, category, kind, "pmc-1", "Extracted", note, question, entities, truth, *limits)
    return dict(zip(COLUMNS, map(str, ("1", *cells, explanation)), strict=True))


ROWS = [
    row(
        2, "lab test", "decimal", 'A man, "tall",\nof 80 kg.', "141.042", "133.9899", "148.0941", "So 141.042 mL/min.\n"
    ),
    row(4, "risk", "integer", "A woman of 80.", "3"),
    row(38, "lab", "decimal", "Sodium 130 mEq/L.", "-0.828", "-0.7866", "-0.8694"),  # the limits the wrong way round
    row(13, "date", "date", "Last period on 07/03/2008.", "04/12/2009"),
    row(69, "date", "integer", "Last period on 10/16/2007.", "('14 weeks', '2 days')"),
    row(24, "dosage conversion", "decimal", "4 mg of dexamethasone.", "102.335", "97.21825", "107.45175"),
    row(49, "dosage", "integer", "20 mg of morphine twice a day.", "40", "38", "42"),
    row(5, "physical", "decimal", "Pressure 120/80 mm Hg.", "93.333", "88.66635", "97.99965"),
    row(20, "severity", "integer", "A cough of 3 days. " * 40, "2"),
    row(33, "diagnosis", "integer", "Fever.", "1", explanation="One point for fever. " * 9),
]


def write(path, rows, columns=COLUMNS):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def files(tmp_path):
    other = [r | {"Patient Note": f"Another. {r['Patient Note']}"} for r in ROWS]
    return {
        "medcalc_train": write(tmp_path / "train.csv", [*other, *ROWS[:4]]),
        "medcalc_test": write(tmp_path / "test.csv", ROWS),
    }


def answer(calculator, value, lower=None, upper=None, category="lab"):
    limits = {"lower": value if lower is None else lower, "upper": value if upper is None else upper}
    kind = official.kind_of(calculator)
    return {"calculator": calculator, "category": category, "kind": kind, "value": value, **limits}


def read(text, calculator):
    """What both scores read in the same answer, given as a line and as JSON."""
    kind = official.kind_of(calculator)
    found = [
        (medcalc.read_answer(response, kind, calculator), official.read_answer(response, kind))
        for response in (f"2 + 5 is 7.\nAnswer: {text}", f'{{"step_by_step_thinking": "2 + 5", "answer": "{text}"}}')
    ]
    assert found[0] == found[1]
    return found[0]


# Rows to examples


def test_a_row_becomes_a_prompt_a_worked_response_and_its_answer(files):
    test = {e.id: e for e in MEDCALC.examples("test", None, 0, files)}
    assert sorted(test) == [f"test-{number:05d}" for number in range(1, 11)]
    e = test["test-00001"]
    assert e.messages == (
        {
            "role": "user",
            "content": 'Patient note:\nA man, "tall",\nof 80 kg.\n\nWhat is value 2?\n\n'
            "Think step by step. End with a line `Answer: <number>`, without a unit.",
        },
    )
    assert e.response == "So 141.042 mL/min.\nAnswer: 141.042"
    assert e.answer == answer(2, 141.042, 133.9899, 148.0941)
    forms = [("00002", "<whole number>"), ("00004", "<MM/DD/YYYY>"), ("00005", "(<weeks> weeks, <days> days)")]
    for number, form in forms:
        assert f"`Answer: {form}`" in test[f"test-{number}"].messages[0]["content"]
    assert test["test-00005"].response.endswith("\nAnswer: (14 weeks, 2 days)")
    assert test["test-00005"].answer == answer(69, [14, 2], category="date")
    assert test["test-00006"].answer["category"] == "dosage"
    # The benchmark goes by the calculator and not by the column.
    assert test["test-00007"].answer == answer(49, 40, 38, 42, category="dosage")


def test_the_reference_scores_one_in_both_ways_and_under_its_category(files):
    for split in ("train", "test"):
        for e in MEDCALC.examples(split, None, 0, files):
            names = ("repaired", "official", f"repaired_{e.answer['category']}", f"official_{e.answer['category']}")
            assert MEDCALC.score(e.response, e.answer) == domains.Outcome(dict.fromkeys(names, 1.0))


def test_a_draw_repeats_and_a_shorter_one_is_its_start(files):
    draw = MEDCALC.examples("test", None, 3, files)
    assert MEDCALC.examples("test", None, 3, files) == draw
    assert MEDCALC.examples("test", 4, 3, files) == draw[:4]
    assert MEDCALC.examples("test", None, 4, files) != draw


def test_a_training_row_with_a_test_rows_question_is_dropped(files, capsys):
    assert MEDCALC.data("test") == ("medcalc_test",)
    assert MEDCALC.data("train") == ("medcalc_train", "medcalc_test")
    train = {e.messages[0]["content"] for e in MEDCALC.examples("train", None, 0, files)}
    test = {e.messages[0]["content"] for e in MEDCALC.examples("test", None, 0, files)}
    assert len(train) == len(test) == 10
    assert not train & test
    assert "dropped 4 rows" in capsys.readouterr().out


def test_parquet_gives_the_same_examples(files, tmp_path):
    numbers = [r | {"Row Number": int(r["Row Number"]), "Calculator ID": int(r["Calculator ID"])} for r in ROWS]
    pq.write_table(pa.Table.from_pylist(numbers), tmp_path / "test.parquet")
    hub = {"medcalc_test": tmp_path / "test.parquet"}
    assert MEDCALC.examples("test", None, 5, hub) == MEDCALC.examples("test", None, 5, files)


def test_long_rows_are_left_out_and_too_few_are_an_error(files):
    short = domains.build({"domain": "medcalc", "longest_note": 40, "longest_explanation": 100})
    kept = {e.id for e in short.examples("test", None, 0, files)}
    assert {f"test-{number:05d}" for number in range(1, 11)} - kept == {"test-00009", "test-00010"}
    with pytest.raises(ValueError, match=r"test\.csv, rows with notes of at most 40 .* gives 8 examples, and 9 are"):
        short.examples("test", 9, 0, files)
    with pytest.raises(ValueError, match=r"train\.csv: gives 10 examples, and 11 are"):
        MEDCALC.examples("train", 11, 0, files)


@pytest.mark.parametrize("options", [{"longest_note": "5"}, {"longest_note": 0}, {"max_new_tokens": 1.5}, {"notes": 1}])
def test_options_are_checked(options):
    with pytest.raises(ValidationError):
        TypeAdapter(medcalc.Medcalc).validate_python(options, strict=True)
    assert MEDCALC.max_new_tokens == 1024


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Ground Truth Answer", "about 5", "row 2: 'Ground Truth Answer' is 'about 5', no number"),
        ("Ground Truth Answer", "nan", "row 2: 'Ground Truth Answer' is 'nan', no number"),
        ("Upper Limit", "1,5", "row 2: 'Upper Limit' is '1,5', no number"),
        ("Lower Limit", "", "row 2: 'Lower Limit' is empty"),
        ("Ground Truth Explanation", " \n", "row 2: 'Ground Truth Explanation' is empty"),
        ("Output Type", "text", "row 2: 'Output Type' is 'text', none of "),
        ("Category", "lab\nrat", "row 2: 'Category' is 'lab rat', none of lab, risk"),
        ("Calculator ID", "12", "row 2: 'Calculator ID' is 12, none of the 55"),
        ("Calculator ID", "2.5", "row 2: 'Calculator ID' is 2.5, none of the 55"),
        ("Calculator ID", "13", "row 2: 'Ground Truth Answer' is '141.042', no date"),
        ("Calculator ID", "69", "row 2: 'Ground Truth Answer' is '141.042', no weeks and days"),
    ],
)
def test_a_broken_row_is_named(tmp_path, column, value, message):
    path = write(tmp_path / "test.csv", [ROWS[1], ROWS[0] | {column: value}])
    with pytest.raises(ValueError) as error:
        MEDCALC.examples("test", 1, 0, {"medcalc_test": path})
    assert str(error.value).startswith(f"{path}, ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "test.csv"
    for content, message in (
        (b"", "no rows"),
        (b"Patient Note\nA man \xff\n", "cannot be read"),
        (b"Patient Note,Question\nA man.,How old?\n", "has no column 'Calculator ID'"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            MEDCALC.examples("test", 1, 0, {"medcalc_test": path})
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


# Reading


@pytest.mark.parametrize(
    ("text", "calculator", "by_code", "by_person"),
    [
        ("3/5/2023", 13, "03/05/2023", "03/05/2023"),
        ("2023-03-05", 13, None, "03/05/2023"),
        ("31 weeks", 69, [3, 1], [31, 0]),
        ("4 weeks and 3 days", 69, None, [4, 3]),
        ("1,234.5", 7, 234.5, 1234.5),
        ("53.1%", 40, 0.531, 53.1),
        ("66.1 mL/min per 1.73 m2", 3, 2, 66.1),
        ("score is 7 (class 2)", 4, 2, 7),
        ("3 out of 5", 4, 3, 3),
        ("1,200", 4, 2, 1200),
        ("1.2e3", 7, 3, 1200),
        ("(4 weeks, 3 days)", 69, [4, 3], [4, 3]),
        ("8.1 mL/min/1.73 m²", 9, 8.1, 8.1),
        ("-0.828", 38, -0.828, -0.828),
        ("2/30/2023", 13, "02/30/2023", None),
        ("007", 7, None, 7),
        ("nan", 7, None, None),
        ("inf", 7, None, None),
        ("not enough information", 7, None, None),
    ],
)
def test_the_benchmarks_code_and_a_person_read_differently(text, calculator, by_code, by_person):
    assert read(text, calculator) == (by_person, by_code)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("66.1mL/min", 66.1),
        ("mL/min/1.73 m²: 66.1", 66.1),
        ("GFR (mL/min/1.73 m^2) is 66.1", 66.1),
        ("mL/min per 1.73 m2 66.1", 66.1),
        ("approximately 66.1 mL/min", 66.1),
        ("≈66.1", 66.1),
        ("~ 66.1", 66.1),
        ("−4.5 mmol/L", -4.5),
        ("–4.5", -4.5),
        ("- 4.5", -4.5),
        ("minus 4.5", -4.5),
        ("+4", 4),
        (".5", 0.5),
        ("**66.1**", 66.1),
        ("`66.1`", 66.1),
        (r"$\boxed{66.1}$", 66.1),
        (r"\(66.1\ \text{mL/min}\)", 66.1),
        (r"$1.2 \times 10^{3}$", 1200),
        ("1.2 × 10³", 1200),
        ("1.2*10**-3", 0.0012),
        ("1,234,567 IU", 1234567),
        (r"1{,}234.5", 1234.5),
        ("1\u202f234.5", 1234.5),
        ("140 - (100 + 24) = 16 mEq/L", 16),
        (r"\frac{2}{3} = 0.667", 0.667),
        ("16 (normal: 8 to 12)", 16),
        ("(16)", 16),
        ("the CURB-65 score of 2", 2),
        ("10-year risk: 12", 12),
        ("the 2021 CKD-EPI formula gives a GFR that is 66.1", 66.1),
        ("GFR by the 2021 CKD-EPI formula is 66.1", 66.1),
        ("120%", 1.2),
        ("66.1. I am sure.", 66.1),
        ("1,23", None),
        ("1.2.3", None),
        ("5-7", None),
        ("5 – 7", None),
        ("between 5 and 7", None),
        ("5 to 7", None),
        ("5 or 6", None),
        ("2/3", None),
        ("3 + 4", None),
        ("2^3", None),
        ("1e999", None),
        ("", None),
    ],
)
def test_a_number_is_read_as_a_person_would(text, number):
    assert medcalc.read_answer(f"Answer: {text}", "decimal", 7) == number


@pytest.mark.parametrize(("text", "number"), [("3/5", 3), ("3 of 5", 3), ("3–4", None), ("CHA2DS2-VASc: 3", 3)])
def test_points_may_be_told_with_the_most_there_are(text, number):
    assert medcalc.read_answer(f"Answer: {text}", "integer", 4) == number


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("03/05/2023.", "03/05/2023"),
        ("03/05/23", "03/05/2023"),
        ("3-5-2023", "03/05/2023"),
        ("2023/3/5", "03/05/2023"),
        ("2023-03-05T00:00", "03/05/2023"),
        ("March 5, 2023", "03/05/2023"),
        ("Sunday, Mar. 5th 2023", "03/05/2023"),
        ("5 March 2023", "03/05/2023"),
        ("the 5th of March, 2023", "03/05/2023"),
        ("05-Mar-2023", "03/05/2023"),
        ("the due date is 03/05/2023", "03/05/2023"),
        ("05/29/2022 + 280 days = 03/05/2023", "03/05/2023"),
        (r"$\text{03/05/2023}$", "03/05/2023"),
        ("13/01/2023", None),
        ("5.3.2023", None),
        ("2/30/2023", None),
        ("0/0/0000", None),
        ("03/2023", None),
        ("03/05/2023 or 03/06/2023", None),
        ("03/05/2023-03/06/2023", None),
    ],
)
def test_a_date_is_read_as_a_person_would(text, date):
    assert medcalc.read_answer(f"Answer: {text}", "date", 13) == date


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("(4, 3)", [4, 3]),
        ("[4, 3]", [4, 3]),
        ("('4 weeks', '3 days')", [4, 3]),
        ("4 weeks 3 days", [4, 3]),
        ("4 weeks, 3 days", [4, 3]),
        ("4w3d", [4, 3]),
        ("4 wks + 3 d", [4, 3]),
        ("4+3", [4, 3]),
        ("4 3/7 weeks", [4, 3]),
        ("4 weeks 3/7", [4, 3]),
        ("1 week and 1 day", [1, 1]),
        ("gestational age: 14 weeks and 2 days (100 days)", [14, 2]),
        ("31 weeks (217 days)", [31, 0]),
        ("6 days", [0, 6]),
        ("(6 days)", [0, 6]),
        ("(4, 3), that is 4 weeks and 3 days", [4, 3]),
        ("4 weeks 3 days or 4 weeks 4 days", None),
        ("31", None),
        ("31.4 weeks", None),
        ("31-32 weeks", None),
        ("31 to 32 weeks", None),
        ("3 weeks, 10 days", None),
        ("217 days", None),
        ("31 weeks, 40 weeks being term", None),
    ],
)
def test_weeks_and_days_are_read_as_a_person_would(text, pair):
    assert medcalc.read_answer(f"Answer: {text}", "weeks", 69) == pair


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("Answer: 1\nno, wait\nAnswer: 2", 2),
        ("ANSWER : 2", 2),
        ("**Answer:** 2", 2),
        ("**Final Answer**: 2", 2),
        ("### Answer\nThe answer is 2.", 2),
        ("Therefore, the final answer is: 2", 2),
        ("Answer:\n\n2 mg", 2),
        ("Answer:\n- 2 mg", 2),
        ("Answer: 2\nAnswer: none", None),
        ('```json\n{\n  "step_by_step_thinking": "Answer: 1",\n  "answer": 2\n}\n```', 2),
        ('{"answer": 2, "explanation": "since 1 + 2 = 3"}', 2),
        ("{'answer': '2'}", 2),
        (r"So we get \boxed{2\text{ mg}} = x", 2),
        ("Answer: <number>", None),
        ("To answer this, add 2.", None),
        ("The result is 2.", None),
        ("", None),
    ],
)
def test_the_last_mark_of_an_answer_counts(response, number):
    assert medcalc.read_answer(response, "decimal", 7) == number
    outcome = MEDCALC.score(response, answer(7, 2))
    assert outcome.invalid == (number is None)
    assert outcome.values["repaired"] == outcome.values["repaired_lab"] == float(number == 2)


@pytest.mark.parametrize(
    ("expression", "number"),
    [
        ("str(round((140 - 80) * 72 / (72 * 1.2), 2)", 50),
        ("str(2^3)", 8),
        ("str(sqrt(16) kg)", 4),
        ("str(math.sqrt(16) + np.exp(0))", 5),
        ("str(7 is odd)", 1),
        ("str(min(3, 4) if 1 else 2)", None),
        ("str(math.log(1))", None),
        ("str(-8 ** 0.5 # a comment)", -(8**0.5)),
        ("str((-8) ** 0.5)", None),
        ("str(1 / 0)", None),
        ("str(9**9**9)", None),
        ("str(round(1, -999999999))", None),
        ("str(__import__('os').getcwd())", None),
        ("str((lambda: 5)())", None),
        ("str([5][0])", None),
        (f"str({'-' * 1100}5)", None),
        (f"str({'(' * 400}5)", None),
        (f"str({'9' * 5000})", None),
    ],
)
def test_an_expression_is_worked_out_without_eval(expression, number):
    assert official.read_answer(f'{{"answer": "{expression}"}}', "decimal") == number


@pytest.mark.parametrize(
    ("calculator", "truth", "text", "right"),
    [
        (7, {"value": 14, "lower": 13.3, "upper": 14.7}, "13.3", True),
        (7, {"value": 14, "lower": 13.3, "upper": 14.7}, "14.71", False),
        (38, {"value": -2, "lower": -2.1, "upper": -1.9}, "-2.05", True),
        (38, {"value": -2, "lower": -2.1, "upper": -1.9}, "2.05", False),
        (4, {"value": 3}, "3.4", True),
        (4, {"value": 2}, "2.5", True),  # Python rounds half to even, as the benchmark does.
        (4, {"value": 3}, "2.5", False),
        (4, {"value": 3}, "9" * 400, False),
        (13, {"value": "03/05/2023"}, "3/5/2023", True),
        (13, {"value": "03/05/2023"}, "03/06/2023", False),
        (69, {"value": [4, 3]}, "(4 weeks, 3 days)", True),
        (69, {"value": [4, 3]}, "(3 weeks, 4 days)", False),
    ],
)
def test_both_scores_keep_the_benchmarks_rules(calculator, truth, text, right):
    outcome = MEDCALC.score(f"Answer: {text}", answer(calculator, **truth))
    assert set(outcome.values.values()) == {float(right)}


LONG = 20_000
ANSWERS = [
    answer(7, 14, 13.3, 14.7),
    answer(4, 3, category="risk"),
    answer(13, "03/05/2023", category="date"),
    answer(69, [4, 3], category="date"),
]
FRAGMENTS = [
    *("Answer: ", '"answer": ', "\n", "}", "str(", "(", ")", "**", "-", "−", "=", "is ", ": ", ",", ".", "/", " "),
    *("1", "12", "2023", "e9", "9**9**9", "%", "weeks", "w", "days", "3d", "and ", "March ", "of ", " out of 5", "³"),
    *(r"\boxed{", r"\frac{1}", "mL/min/1.73", "x 10^", '"', "'", "inf", "nan", "٣", "\x00", "\ud800"),
]
PIECES = [
    *('answer":', "answer: ", "\nanswer:", "\n", " ", "1", "1 ", "1,", "(", "str(", "-", "=1", "is ", ": ", r"\boxed{"),
    *(r"\frac{", "'", '"answer": "', "1 weeks ", "march ", "5 march", "1/1/", "{", "}", "*", "³", "1 out of", "1x10^"),
]


@settings(deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(FRAGMENTS)).map(lambda found: "Answer: " + "".join(found)))
def test_score_takes_any_text(text):
    for truth in ANSWERS:
        outcome = MEDCALC.score(text, truth)
        assert {"repaired", "official"} < set(outcome.values)
        assert all(value in (0.0, 1.0) for value in outcome.values.values())
        assert not (outcome.invalid and outcome.values["repaired"])


@pytest.mark.parametrize("end", ["x", "\n5"])
@pytest.mark.parametrize("piece", PIECES)
def test_no_long_text_is_slow(piece, end):
    start = time.perf_counter()
    for before in ("Answer: 1", '"answer": 1'):
        for truth in ANSWERS:
            MEDCALC.score(before + piece * (LONG // len(piece)) + end, truth)
    assert time.perf_counter() - start < 2


@settings(deadline=None)
@given(number=st.floats(-1e9, 1e9), digits=st.integers(0, 4), data=st.data())
def test_every_way_to_write_a_number_is_read_back(number, digits, data):
    plain = f"{number:.{digits}f}"
    forms = [plain, f"{number:,.{digits}f}", f"{plain} mg/dL", f"{plain}mg/dL", f"mL/min/1.73 m²: {plain}"]
    forms += [f"**{plain}**", f"${plain}$", f"\\boxed{{{plain}}}", f"x = {plain}", f"about {plain} (see above)"]
    forms += [plain.replace("-", "−"), f"{float(plain):.17e}", f"the value is {plain}."]
    text = data.draw(st.sampled_from(forms))
    layout = data.draw(st.sampled_from(["Answer: {}", "**Answer:** {}", '{{"answer": "{}"}}', "Answer:\n{}"]))
    assert medcalc.read_answer(layout.format(text), "decimal", 7) == float(plain)


DATES = [
    *("{0:%m/%d/%Y}", "{0.month}/{0.day}/{0.year}", "{0:%m/%d/%y}", "{0:%m-%d-%Y}", "{0:%Y-%m-%d}"),
    *("{0:%B} {0.day}, {0.year}", "{0:%b} {0.day}, {0.year}", "{0.day} {0:%B} {0.year}", "on {0.day}th of {0:%B %Y}"),
    "the date is {0:%m/%d/%Y}",
]
WEEKS = [
    *("({}, {})", "({} weeks, {} days)", "('{} weeks', '{} days')", "{} weeks and {} days", "{}w{}d", "{} {}/7 weeks"),
    *("{}+{}", "**{} weeks, {} days**", "gestational age: {} wk {} d", "{} weeks {} days (as of today)"),
]


@settings(deadline=None)
@given(date=st.dates(datetime.date(2000, 1, 1), datetime.date(2099, 12, 31)), form=st.sampled_from(DATES))
def test_every_way_to_write_a_date_is_read_back(date, form):
    assert medcalc.read_answer(f"Answer: {form.format(date)}", "date", 13) == date.strftime("%m/%d/%Y")


@settings(deadline=None)
@given(weeks=st.integers(0, 45), days=st.integers(0, 6), form=st.sampled_from(WEEKS))
def test_every_way_to_write_weeks_and_days_is_read_back(weeks, days, form):
    assert medcalc.read_answer(f"Answer: {form.format(weeks, days)}", "weeks", 69) == [weeks, days]
