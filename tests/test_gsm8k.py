"""GSM8K and the reader of its answers: lm-eval's filters as they are, and a number wherever a person would read one."""

import json
import time
from decimal import Decimal
from pathlib import Path

import lm_eval
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from tradeoff.evaluation import TASKS
from tradeoff.evaluation.tasks import gsm8k
from tradeoff.numbers import digits, lenient_answer

pytestmark = pytest.mark.usefixtures("no_network")

# Response, gold, right under strict-match, right under flexible-extract, number under lenient.
TABLE = [
    ("#### 18", "18", True, True, 18),
    ("#### 1,234", "1234", True, True, 1234),
    ("#### 1234", "1,234", True, True, 1234),
    ("#### $18", "18", False, True, 18),
    ("The answer is 18.", "18", False, True, 18),
    ("so it costs $29.00", "29", False, False, 29),
    ("The answer is **18**.", "18", False, True, 18),
    ("Answer: $-5", "-5", False, True, -5),
    ("#### -5", "-5", True, True, -5),
    ("####18", "18", False, True, 18),
    ("#### 18\n#### 20", "18", True, False, 18),
    ("The answer is 18. This took 3 steps", "18", False, False, 18),
    ("eighteen", "18", False, False, None),
    ("", "18", False, False, None),
]
TRAIN = [
    {"question": f"Ann has {n} pens and buys 2. How many?", "answer": f"{n}+2=<<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}"}
    for n in range(8)
]


class Recites(LM):
    """Gives each item the response of its number, and keeps what it was asked."""

    tokenizer_name = "none"

    def __init__(self, responses):
        super().__init__()
        self.responses = responses
        self.prompts = []

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return "".join(f"<{m['role']}>{m['content']}" for m in chat_history)

    def generate_until(self, requests, **_):
        self.prompts = [request.args[0] for request in requests]
        assert all(request.args[1]["max_gen_toks"] == 512 for request in requests)
        return [self.responses[request.doc_id % len(self.responses)] for request in requests]

    def loglikelihood(self, requests, **_):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError


@pytest.fixture
def files(tmp_path):
    test = [{"question": f"Question {n}?", "answer": f"Work.\n#### {row[1]}"} for n, row in enumerate(TABLE)]
    return {"gsm8k_train": lines(tmp_path / "train.jsonl", TRAIN), "gsm8k_test": lines(tmp_path / "test.jsonl", test)}


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(files, responses=("#### 1",), num_fewshot=None, chat=False, **drawn):
    """Logged samples by filter, and the prompts."""
    metadata = {"files": files, **drawn}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    (task,) = manager.load(["gsm8k"])["tasks"].values()
    if num_fewshot is not None:
        task.set_config("num_fewshot", num_fewshot)
    model = Recites(responses)
    out = evaluate(
        model, {"gsm8k": task}, apply_chat_template=chat, fewshot_as_multiturn=chat, bootstrap_iters=0, log_samples=True
    )
    by_filter = {}
    for row in out["samples"]["gsm8k"]:
        by_filter.setdefault(row["filter"], []).append(row)
    return by_filter, model.prompts


# The task


def test_prompt_metric_and_filters_are_those_of_lm_eval():
    theirs = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml").read_text())
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda _, node: node.value)
    ours = yaml.load((TASKS / "gsm8k.yaml").read_text(), loader)
    assert theirs["metadata"]["version"] == 3.0
    for key in ("doc_to_text", "doc_to_target", "metric_list", "output_type", "fewshot_split", "num_fewshot"):
        assert ours[key] == theirs[key], key
    assert ours["generation_kwargs"] == {**theirs["generation_kwargs"], "max_gen_toks": 512}
    filters = {f["name"]: f["filter"] for f in ours["filter_list"]}
    assert list(filters) == ["flexible-extract", "strict-match", "lenient"]
    assert {f["name"]: filters[f["name"]] for f in theirs["filter_list"]} == {
        name: filters[name] for name in ("strict-match", "flexible-extract")
    }


def test_each_filter_reads_its_own_number(files):
    by_filter, _ = run(files, [row[0] for row in TABLE])
    for index, (response, gold, strict, flexible, number) in enumerate(TABLE):
        lenient_right = number is not None and str(number) == gold.replace(",", "")
        for name, right in (("strict-match", strict), ("flexible-extract", flexible), ("lenient", lenient_right)):
            row = by_filter[name][index]
            assert row["resps"] == [[response]]
            assert row["exact_match"] == right, (name, response)
        assert by_filter["lenient"][index]["filtered_resps"] == ["[invalid]" if number is None else str(number)]


def test_a_response_without_a_number_is_known_by_its_filtered_text(files):
    by_filter, _ = run(files, ["eighteen", "18"])
    assert [rows[0]["filtered_resps"] for rows in by_filter.values()] == [["[invalid]"]] * 3
    assert [rows[1]["filtered_resps"] for rows in by_filter.values()] == [["18"], ["[invalid]"], ["18"]]


def test_all_prompts_begin_with_the_first_examples_of_the_training_file(files):
    _, prompts = run(files)
    shots = "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in TRAIN[:5])
    assert prompts == [f"{shots}Question: Question {n}?\nAnswer:" for n in range(len(TABLE))]


def test_without_examples_and_in_chat_turns(files):
    _, prompts = run(files, num_fewshot=0)
    assert prompts[1] == "Question: Question 1?\nAnswer:"
    _, prompts = run(files, num_fewshot=0, chat=True)
    assert prompts[1] == "<user>Question: Question 1?\nAnswer:"
    _, prompts = run(files, num_fewshot=1, chat=True)
    turns = f"<user>Question: {TRAIN[0]['question']}\nAnswer:<assistant>{TRAIN[0]['answer']}"
    assert prompts[1] == f"{turns}<user>Question: Question 1?\nAnswer:"


def test_draws_repeat_and_longer_draws_begin_with_them(files):
    def drawn(count, seed=3):
        return gsm8k.items(count, seed, files, chat=False, version=1.0)["test"]["question"]

    whole = drawn(len(TABLE))
    assert drawn(5) == whole[:5] == drawn(5)
    assert drawn(5) != drawn(5, seed=4)
    assert drawn(None) == [f"Question {n}?" for n in range(len(TABLE))]
    assert sorted(whole) == sorted(drawn(None))
    with pytest.raises(ValueError, match="gives 14 examples, and 15 are asked for"):
        drawn(15)
    by_filter, _ = run(files, count=2, seed=3)
    assert [row["doc"]["question"] for row in by_filter["lenient"]] == whole[:2]


def test_parquet_holds_the_same(files, tmp_path):
    path = tmp_path / "test.parquet"
    rows = [json.loads(line) for line in Path(files["gsm8k_test"]).read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist([{"id": n, **row} for n, row in enumerate(rows)]), path)
    assert gsm8k.items(files={**files, "gsm8k_test": str(path)})["test"].to_list() == rows


@pytest.mark.parametrize("broken", [{"question": "Why?"}, {"question": "Why?", "answer": None}, [1]])
def test_a_row_that_lacks_a_field_is_named(files, tmp_path, broken):
    path = lines(tmp_path / "odd.jsonl", [TRAIN[0], broken])
    with pytest.raises(ValueError, match=r"odd\.jsonl, row 2: has no (answer|question)"):
        gsm8k.items(files={**files, "gsm8k_train": path})


# The reader


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # The mark.
        ("#### 18\nThe answer is: 18", 18),
        ("#### **$18.00** per day", 18),
        ("####\n18", 18),
        ("#### 9 * 2 = 18", 18),
        ("#### 0", 0),
        ("#### -$5", -5),
        ("#### −5", -5),
        ("#### 25%", 25),
        ("#### 3/4 cup", "0.75"),
        ("#### 2 1/2", "2.5"),
        ("#### Step 1: Count\n16 - 7 = 9\n#### 2. Sell\n9 * 2 = 18\n\nSo the answer is $18.", 18),
        # The box.
        (r"The final answer is: $\boxed{18}$. I hope it helps, 2 times.", 18),
        (r"\boxed{9} eggs, so \[ \boxed{\$18 \text{ dollars}} \]", 18),
        (r"\boxed{1{,}234} or \boxed{}", 1234),
        (r"$\boxed{\$1,\!234.50}$", "1234.5"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{-\dfrac{1}{2}}", "-0.5"),
        (r"\boxed{7\frac{1}{2}}", "7.5"),
        (r"\boxed{x = 18}", 18),
        (r"\boxed{9 \times 2 = 18}", 18),
        (r"\boxed{\text{18}\%}", 18),
        # The statement.
        ("The answer is: 18", 18),
        ("The answer is 9. No, the ANSWER is **7** apples, not 9.", 7),
        ("The answer to the question is 18 dollars, for 9 eggs", 18),
        ("The answer is therefore about $18 a day for 9 eggs.", 18),
        ("The answer is 9 eggs * $2 = $18. She is 40.", 18),
        ("The answer is (16 - 3 - 4) * 2 = 18, not 20", 18),
        ("The answer is 18 because 16 - 7 = 9", 18),
        ("The answer is .5, in 2 parts", "0.5"),
        ("**Answer:** 18 eggs\n\nExplanation: 9 + 9 = 18 and 2 > 1", 18),
        ("**Final Answer**\n\nThe total is below.\n\nFinal answer (in dollars): \\( 18 \\)\n\nSee step 3", 18),
        ("Answer: x = 18", 18),
        ("Answer: 16 - 3 - 4 = 9 eggs a day. She makes 9 * 2 = $18.", 18),
        ("The answer must be whole. So 18", 18),
        ("To answer this, count: 16 - 7 = 9. Then 9 * 2 = 18", 18),
        # None of them.
        ("She makes 9 * 2 = $<<9*2=18>>18 every day", 18),
        ("Therefore, she makes **$18** every day from 9 eggs.", 18),
        ("So it is 9 + 9 = 18 litres out of the 24 litres.", 18),
        ("1. Count the eggs.\n2. 9 * 2 = 18\n3. So that is it.", 18),
        ("9 * 2 = 18\n**Step 3:** Conclude.", 18),
        ("He eats 1/2 of the 36 cookies, so 18 are left", 18),
        ("She reads 18 pages by the 4th day", 18),
        ("- 18 eggs", 18),
        ("10-3", 3),
        ("(5)-3", 3),
        ("It is -2", -2),
        ("It is ...18", 18),
        ("$1,234,567", 1234567),
        # Commas and points.
        ("1,23", "1.23"),
        ("99,5", "99.5"),
        ("12,50 €", "12.50"),
        ("3,1416", "3.1416"),
        ("0,125", "0.125"),
        ("12,345", 12345),
        ("1,23,456", 123456),
        ("1.234,5", "1234.5"),
        ("1,234.5", "1234.5"),
        ("1.234.567", 1234567),
        ("1.234.567,8", "1234567.8"),
        ("1.234", "1.234"),
        ("1,2,3", 3),
        ("(3, 4)", 4),
        ("May 5, 2023", 2023),
        # Digits and signs of other scripts.
        ("答案是－１８", -18),
        ("１，２３４．５", "1234.5"),
        ("٣٫١٤", "3.14"),
        ("१८", 18),
        ("‑5", -5),
        ("−5", -5),
        ("⁻5", -5),
        ("﹣5", -5),
        ("\\frac{ 1 }{ 2 }", "0.5"),
        ("18kg", 18),
        ("__18__", 18),
        ("答案是18", 18),
        ("x2", None),
        ("the 5th", None),
        ("$ . , - #### answer is \\boxed{}", None),
    ],
)
def test_the_answer_read(text, number):
    assert lenient_answer(text) == (None if number is None else Decimal(number))


ENDINGS = (
    "#### {}",
    "####{}",
    "She has 16 eggs.\n#### {}\nThe answer is: {}",
    "16 - 7 = 9\nThe answer is {}.",
    "So the final answer is: {}. It took 3 steps.",
    "**Answer:** {}\n\nIt took 3 steps.",
    "ANSWER = {}",
    "The answer is \\boxed{{{}}}, in 2 days.",
    "Thus she makes **{}** in 2 days.",
    "After 2 days, there are {}",
    "{}",
)
DRESSES = (
    lambda n: f"{n}",
    lambda n: f"{n:,}",
    lambda n: f"${n:,}",
    lambda n: f"\\${n}",
    lambda n: f"€ {n}",
    lambda n: f"{n:,} dollars",
    lambda n: f"{n} eggs",
    lambda n: f"{n}%",
    lambda n: f"{n}\\%",
    lambda n: f"{n:,}".replace(",", "{,}"),
    lambda n: f"{n:,}".replace(",", "\\,"),
    lambda n: f"{n:,}".replace(",", "\u202f"),
    *(lambda n, sign=sign: f"{n}".replace("-", sign) for sign in "−‐‑–－﹣"),
    lambda n: f"{n:,}".translate(str.maketrans(",.", ".,")) if n != int(n) or abs(n) > 10**6 else f"{n}",
    lambda n: f"{n}".translate(str.maketrans("0123456789.", "٠١٢٣٤٥٦٧٨٩٫")),
    lambda n: f"{n:,}".translate(str.maketrans("0123456789.,-", "０１２３４５６７８９．，－")),
    lambda n: f"${n}$" if n >= 0 else f"-${-n}",
    lambda n: f"{n}.00" if n == int(n) else f"{n}00",
    lambda n: f"\\text{{{n}}}",
    lambda n: f"**{n}**",
)
NUMBERS = st.integers(-(10**12), 10**40) | st.decimals(-1000, 10**6, places=2)


@given(NUMBERS, st.sampled_from(DRESSES), st.sampled_from(ENDINGS))
def test_a_number_is_read_back_however_it_is_written(number, dress, ending):
    assert lenient_answer(ending.replace("{}", dress(number)).replace("{{", "{").replace("}}", "}")) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Answer: 6.02e-23", "6.02e-23"),
        ("Answer: 1.5 × 10^6", "1500000"),
        (r"\boxed{1.2 \times 10^{5}}", "120000"),
        ("The answer is 3.5 × 10⁻³.", "0.0035"),
        ("so it is 10²", "100"),
        ("The answer is: 3^2 = 9", "9"),
        ("The answer is 20% of 50 = 10", "10"),
        ("The answer is 20% of the class", "20"),
        ("The answer is 5 per day * 3 days = 15", "15"),
        ("Answer: 15 = 5 * 3", "15"),
        ("#### 15 = 5 * 3", "15"),
        ("#### 9 * 2 = 3 * 6 = 18", "18"),
        ("Answer: 5 apples of 7", "5"),
    ],
)
def test_scientific_notation_and_calculations_in_any_order(text, number):
    assert lenient_answer(text) == Decimal(number)


# Text that a pattern could go through again and again: each piece many times, after each beginning.
ENDLESS = ("answer is ", "answer: ", "answer to ", "answer is one. ", "####", "\\boxed{", "\\frac{", "1=", ",22", "**1")
ENDLESS += ("1. ", "(", "= (", "$", "-", " ", "\n", "1{,}", "9", "0,", "1 x ", "*", "\\text{", "<<", ".234", "1/")


@pytest.mark.parametrize("piece", ENDLESS)
@pytest.mark.parametrize("begin", ["", "answer is ", "1=", "\\frac{"])
def test_the_time_is_linear(begin, piece):
    """40 KB take a tenth of a second; in time that grows with the square they take seconds."""
    text = begin + piece * (40_000 // len(piece))
    started = time.process_time()
    lenient_answer(text)
    assert time.process_time() - started < 4


@given(st.integers(0, 99), st.integers(1, 99), st.sampled_from(("#### {}", "The answer is {}.", "Answer: {}")))
def test_a_fraction_is_read_where_it_is_the_answer(top, bottom, ending):
    for fraction in (f"{top}/{bottom}", f"\\frac{{{top}}}{{{bottom}}}"):
        assert lenient_answer(ending.format(fraction)) == Decimal(top) / Decimal(bottom)


PIECES = (
    "####",
    "answer",
    "Answer:",
    " is ",
    "\\boxed{",
    "}",
    "{",
    "\\frac{",
    "$",
    "-",
    "−",
    ",",
    ".",
    "/",
    "=",
    "*",
    "**",
)
TEXTS = st.text() | st.lists(
    st.sampled_from((*PIECES, "\n", " ", "1", "0", "18", "1,234", "<<", ">>", "(", "5th"))
).map("".join)


@given(TEXTS)
def test_reading_never_raises(text):
    number = lenient_answer(text)
    assert number is None or number.is_finite()
    assert gsm8k.lenient([[text]], [{}]) == [["[invalid]" if number is None else digits(number)]]


@given(NUMBERS)
def test_digits_are_the_shortest_spelling(number):
    spelled = digits(Decimal(number))
    assert Decimal(spelled) == number
    assert not spelled.endswith((".", "-0"))
    assert "." not in spelled or not spelled.endswith("0")
