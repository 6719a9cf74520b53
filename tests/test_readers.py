"""Every reader of model text against a slow second one, in many scripts, and its time on long hostile texts."""

import time
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial

import pytest
import slowly
import test_humaneval
import tiny
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lm_eval.filters.extraction import RegexFilter
from test_jsonl import named_slowly
from test_reasoning import thinking

from tradeoff import domains
from tradeoff.domains import _medcalc_official as official
from tradeoff.domains import _medcalc_rules, _scorers, medcalc
from tradeoff.evaluation.lm import Question, _cut, _stopped, response_of
from tradeoff.evaluation.tasks import arithmetic_mini, humaneval
from tradeoff.models.reasoning import CHANNELS, MARKS, Separated, separate
from tradeoff.numbers import lenient_answer

ESCI = domains.build({"domain": "esci"})
COT = domains.build({"domain": "esci_cot", "teacher": "big"})
SHOP = domains.build({"domain": "shop_mini"})
LABELS = ("Exact", "Substitute", "Complement", "Irrelevant")
SCRIPTS = tuple(slowly.WORDS)
FILLER = tuple(word for word, _ in slowly.WORDS.values())


def made(*pieces, size=12, anything=2):
    """Texts of pieces, of words of all scripts and, between them, of some characters of any kind."""
    others = st.text(st.characters(exclude_categories=["Cs"]), max_size=anything)
    return st.lists(st.sampled_from([*pieces, *FILLER]) | others, max_size=size).map("".join)


# Numbers

RUNS = st.lists(st.tuples(st.text("0123", min_size=1, max_size=4), st.sampled_from(",.")), min_size=1, max_size=5).map(
    lambda pairs: "".join(digits + mark for digits, mark in pairs)[:-1]
)
GROUPS = st.integers(1, 10**9).map("{:,}".format)


@given(RUNS | GROUPS | st.tuples(GROUPS, st.integers(0, 99)).map("{0[0]}.{0[1]}".format), st.sampled_from(SCRIPTS))
def test_commas_and_points_are_read_by_the_rule_in_every_script(run, script):
    expected = slowly.numbers(run)
    word, spelled = slowly.WORDS[script][0], slowly.in_script(run, script)
    space = "" if script in slowly.SPACELESS else " "
    for text, which in ((f"{word}{space}{spelled} {word}", -1), (f"{word}\nThe answer is {spelled}.\n{word} 7", 0)):
        found = lenient_answer(text)
        assert found is not None
        assert expected is None or found == expected[which], (text, expected)


@given(st.integers(0, 10**6), st.sampled_from(SCRIPTS), st.sampled_from("-‐‑‒–—―−－﹣⁻₋"), st.sampled_from(["", " "]))
def test_a_dash_is_a_minus_sign_where_it_touches_a_number_alone(number, script, dash, space):
    spelled = slowly.in_script(str(number), script)
    word = slowly.WORDS[script][0]
    assert lenient_answer(f"{word} {dash}{space}{spelled}") == (number if space else -number)
    assert lenient_answer(f"3{dash}{spelled}") == number


LINES = {
    "mark": ("#### {}", "#### $ {}", "####{}"),
    "box": (r"so \boxed{{{}}}, in 3 days", r"$\boxed{{\text{{{}}}}}$"),
    "said": ("The answer is {}. So 3 days", "Answer: {} apples", "**ANSWER：** {}", "the final answer would be：{}"),
    "bold": ("so **{}** in 3 days", "2 = 4 or **{} days**"),
    "result": ("5 * 2 = {} or 3", "5 ＊ 2 ＝ {} 7"),
    "last": ("after 2 days {}", "{}", "(１) or {}"),
    "none": ("no number", "####", r"\boxed{{}}", "the answer is unknown.", ""),
}


@given(
    st.lists(
        st.tuples(st.sampled_from(list(LINES)), st.integers(0, 2), st.integers(10, 9999), st.sampled_from(SCRIPTS)),
        max_size=6,
    )
)
def test_the_answer_is_the_first_that_there_is_of_four(rows):
    """Which line decides is known from how the text is made."""
    lines, found = [], {}
    for kind, form, number, script in rows:
        form = LINES[kind][form % len(LINES[kind])]
        lines.append(slowly.WORDS[script][0] + "\n" + form.format(slowly.in_script(str(number), script)))
        if kind != "none":
            found.setdefault(kind if kind in ("mark", "box", "said") else "other", []).append(number)
    expected = next(
        (found[kind][0 if kind == "mark" else -1] for kind in ("mark", "box", "said") if kind in found), None
    )
    if expected is None and "other" in found:
        expected = found["other"][-1]
    assert lenient_answer("\n".join(lines)) == expected


@given(made("#### ", "-", "1", "234", ",", ".", "$", "\n", " ", "１", "٣", size=20))
def test_lm_evals_filters_of_gsm8k_find_what_a_slow_reader_finds(text):
    """ASCII digits alone; `flexible-extract` takes points and commas for a number too."""

    def match(at, first):
        start = at + (text[at : at + 1] == "-")
        end = start
        while text[end : end + 1] and text[end] in ("$0123456789.," if first else "0123456789"):
            end += 1
        return text[at:end] if end - start >= (2 if first else 1) else ""

    at, flexible = 0, "[invalid]"
    while at < len(text):
        found = match(at, True) or match(at, False)
        flexible, at = (found, at + len(found)) if found else (flexible, at + 1)
    strict = "[invalid]"
    for place in slowly.places(text, "#### "):
        rest = text[place + 5 :]
        sign, rest = rest[: rest.startswith("-")], rest.removeprefix("-")
        digits = rest[: next((i for i, c in enumerate(rest) if c not in "0123456789.,"), len(rest))]
        if digits:
            strict = sign + digits
            break
    for pattern, group, expected in (
        (r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1, flexible),
        (r"#### (\-?[0-9\.\,]+)", 0, strict),
    ):
        assert list(RegexFilter(pattern, group).apply([[text]], [{}])) == [[expected]]


@given(made("answer", "Answer: ", "=", "1", "2.5", ".", "\n", " ", "-", "$", "1,234", size=16))
def test_arithmetic_mini_drops_the_left_sides_of_equations(text):
    """A left side goes back to the line's start or to a point that no digit follows."""
    text = slowly.in_ascii(text)
    _, said, conclusion = text.lower().rpartition("answer")
    kept = ""
    for line in conclusion.split("\n"):
        part = ""
        for at, c in enumerate(line):
            if c == "=":
                part = ""
            elif c == "." and line[at + 1 : at + 2] not in set("0123456789") - {""}:
                kept, part = kept + part + c, ""
            else:
                part += c
        kept += part + "\n"
    stated = arithmetic_mini.NUMBER.findall(kept) if said else []
    number = next(iter(stated or arithmetic_mini.NUMBER.findall(text)[-1:]), None)
    expected = None if number is None else Decimal(number.replace("$", "").replace(",", ""))
    assert arithmetic_mini.read_number(text) == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_small_suites_read_numbers_of_every_script(script):
    word, number = slowly.WORDS[script][0], slowly.in_script("66.1", script)
    assert arithmetic_mini.read_number(f"{word} 7\nAnswer： {number}") == Decimal("66.1")
    assert arithmetic_mini.read_number(f"{word} −{number}") == Decimal("-66.1")
    assert _medcalc_rules.read_answer(f"{word}\nAnswer： {number} mg", "decimal") == 66.1


# Scorers

ANSWERS = ("Answer:", "answer", "ANSWER：", "**", "*", "_", ":", "：", " ", "\t", "\n", "> ", "- ", "# ", "* ")


@given(made(*ANSWERS, "Ａｎｓｗｅｒ", "Ｅｘａｃｔ", size=14))
def test_the_answer_line_is_the_one_that_a_slow_reader_finds(text):
    assert _scorers.answer_line(text) == slowly.answer_line(text)


@given(made(*ANSWERS, *LABELS, "exact", "Ｅｘａｃｔ", "s", anything=0))
def test_labels_of_esci_are_named_as_a_slow_reader_names_them(text):
    def named(of):
        return [label for found in named_slowly(LABELS, of) for label in LABELS if label == found]

    line = slowly.answer_line(text)
    whole = slowly.common(text)
    assert ESCI._read(text) == next(iter(named(whole.strip() if line is None else line)), None)
    several = set(named(whole))
    expected = next(iter(named(line)), None) if line is not None else several.pop() if len(several) == 1 else None
    assert COT._read(text) == expected


@given(made(*LABELS, "exact", "EXACT", "s", " ", "-", ".", "_"))
def test_the_label_of_shop_mini_is_the_first_one(text):
    found = next(iter(named_slowly(LABELS, slowly.common(text))), None)
    outcome = SHOP.score(text, {"label": "Exact"})
    assert outcome.invalid == (found is None)
    assert outcome.values["accuracy"] == float(found == "Exact")


@given(
    text=made("Paris", "paris", "ΣΑΣ", "σας", "e\u0301", "é", "ﾊﾟﾘ", "パリ", "ß", "ss"),
    part=made("Paris", "é", "σας", size=2),
)
def test_what_a_response_contains_is_searched_place_by_place(text, part):
    def folded(t):
        return slowly.common(slowly.common(t).casefold())

    assume(part.strip())
    seen, wanted = folded(text.strip()), folded(part)
    expected = any(seen[i : i + len(wanted)] == wanted for i in range(len(seen)))
    assert _scorers.Contains(True).judge(text, [part]).right == expected


@given(
    st.decimals(-(10**6), 10**6, places=3),
    st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.3]),
    st.sampled_from([-2, -1, 0, 1, 2]),
    st.integers(-2, 2),
    st.sampled_from(SCRIPTS),
)
def test_a_number_is_right_up_to_the_bounds_of_the_tolerance(truth, tolerance, share, off, script):
    """Exact fractions; the number is near a bound, or on it."""
    with localcontext(prec=60):
        number = truth + abs(truth) * Decimal(str(tolerance)) * share / 2 + Decimal(off).scaleb(-9)
    spelled = slowly.in_script(f"{number:f}", script)
    expected = abs(Fraction(number) - Fraction(truth)) <= Fraction(str(tolerance)) * abs(Fraction(truth))
    response = f"{slowly.WORDS[script][0]} 7\nAnswer: {spelled}"
    assert _scorers.Number(tolerance).judge(response, str(truth)).right == expected


# MedCalc-Bench

TOKENS = st.sampled_from(
    ["66.1", "-4", "1,234", ".5", "7", "CURB-65", "CHA2DS2", "mg/dL", "mL/min/1.73", "or", "to", *FILLER]
)
VALUE = {"66.1": 66.1, "-4": -4.0, "1,234": 1234.0, ".5": 0.5, "7": 7.0}


@given(st.lists(TOKENS, min_size=1, max_size=6), st.sampled_from(SCRIPTS), st.sampled_from(["Answer:", "**Answer：**"]))
def test_medcalc_reads_the_first_number_that_stands_by_itself(tokens, script, mark):
    """Unless another one is joined to it; a name or a unit may hold digits."""
    at = next((i for i, token in enumerate(tokens) if token in VALUE), None)
    expected = None if at is None else VALUE[tokens[at]]
    if at is not None and tokens[at + 1 : at + 2] in (["or"], ["to"]) and tokens[at + 2 : at + 3]:
        joined = tokens[at + 2][:1].isdigit() or tokens[at + 2][0] in "-."
        expected = None if joined and tokens[at + 2] in VALUE else expected
    if at is not None and tokens[at + 1 : at + 2] == ["-4"]:  # a range: 7 -4
        expected = None
    spelled = [slowly.in_script(token, script) if token in VALUE else token for token in tokens]
    assert medcalc.read_answer(f"{mark} {' '.join(spelled)}", "decimal", 7) == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_medcalc_reads_numbers_and_dates_beside_words_of_a_script(script):
    """Without a space where the script has none."""
    word = slowly.WORDS[script][0]
    before, after = (word, word) if script in slowly.SPACELESS else (word + " ", " " + word)
    number, day = slowly.in_script("66.1", script), slowly.in_script("3/5/2023", script)
    assert medcalc.read_answer(f"Answer: {before}{number}{after}", "decimal", 7) == 66.1
    assert medcalc.read_answer(f"Answer: {before}{day}{after}", "date", 13) == "03/05/2023"
    assert medcalc.read_answer(f"Answer: ({slowly.in_script('4, 3', script)})", "weeks", 69) == [4, 3]


@given(st.decimals(-100, 100, places=2), st.integers(-100, 100), st.sampled_from(["decimal", "integer"]))
def test_medcalc_keeps_the_benchmarks_limits_and_rounds_half_to_even(found, truth, kind):
    lower, upper = sorted((truth * 0.95, truth * 1.05)) if kind == "decimal" else (truth, truth)
    if kind == "decimal":
        expected = Fraction(lower) <= Fraction(float(found)) <= Fraction(upper)
    else:
        floor = max(n for n in range(-101, 101) if n <= found)
        over = 2 * (found - floor)
        rounded = floor if over < 1 or (over == 1 and floor % 2 == 0) else floor + 1
        expected = rounded == truth
    answer = {"kind": kind, "value": truth, "lower": lower, "upper": upper}
    assert official.is_right(float(found), answer) == expected
    mini = _medcalc_rules.limits(truth, kind)
    bounds = [Fraction(truth) * (1 + side * Fraction(5, 100)) for side in (-1, 1)]
    within = min(bounds) <= Fraction(found) <= max(bounds) if kind == "decimal" else expected
    assert _medcalc_rules.is_right(float(found), kind, *mini) == within


@given(made("-", "1", "23", ".", ",", " ", ", ", " out of", "%", "mL/min/1.73", size=14))
def test_the_benchmarks_own_reading_of_numbers(text):
    """As its code does it, from the left, faults included; Python's literals have ASCII digits alone."""
    assume(not any(c.isdecimal() and not c.isascii() for c in text))
    text = " ".join(text.split())  # one line, as the answer is stripped
    runs, at = [], 0
    while at < len(text):
        start = at
        sign = text[at] == "-"
        at += sign
        digits = at
        while at < len(text) and text[at].isdigit() and text[at].isascii():
            at += 1
        if at == digits:
            at = start + 1
            continue
        if text[at : at + 1] == "." and text[at + 1 : at + 2].isascii() and text[at + 1 : at + 2].isdigit():
            at += 1
            while at < len(text) and text[at].isdigit() and text[at].isascii():
                at += 1
        runs.append((start, text[start:at]))
    shares = [run for start, run in runs if text[start + len(run) : start + len(run) + 1] == "%"]
    rates = [run for start, run in runs if text[start + len(run) :].lstrip().startswith("mL/min/1.73")]
    chosen = rates[0] if rates else shares[-1] if shares else runs[-1][1] if runs else None
    try:
        expected = None if chosen is None else float(chosen if "." in chosen else int(chosen, 0))
    except ValueError:  # 01 is no number in Python
        expected = None
    if expected is not None and shares and not rates:
        expected /= 100
    assert official.read_answer(f"Answer: {text}", "decimal") == expected


# Reasoning and stop strings

HEADERS = ("<|start|>assistant", "<|channel|>analysis", "<|message|>", "<|end|>", "<|eom|>", "to=self", "to=", "a")


def separated_slowly(text, opened):
    for begins, final in CHANNELS:
        if found := slowly.places(text, final):
            before = slowly.without_headers(text[: found[-1]]).strip()
            return Separated(before or None, text[found[-1] + len(final) :])
        if text.strip().startswith(begins):
            return Separated(slowly.without_headers(text).strip(), "", finished=False)
    for opens, closes in MARKS:
        found = slowly.places(text, closes)
        if not found and not (opens == opened or text.strip().startswith(opens)):
            continue
        before = text[: found[-1]] if found else text
        if starts := slowly.places(before, opens):
            before = before[: starts[0]] + before[starts[0] + len(opens) :]
        after = text[found[-1] + len(closes) :].strip() if found else ""
        return Separated(before.strip(), after, finished=bool(found))
    return Separated(None, text)


@given(
    made(*(mark for marks in (*MARKS, *CHANNELS) for mark in marks), *HEADERS, " ", "\n", size=10),
    st.sampled_from(["", *(opens for opens, _ in MARKS)]),
)
def test_reasoning_is_separated_as_a_slow_reader_separates_it(text, opened):
    assert separate(text, opened) == separated_slowly(text, opened)


STOPS = st.lists(st.sampled_from(["Question:", "\ndef", "</s>", "答", "", "é", "🇫"]), max_size=3)


@given(made("Question", ":", "\n", "def", "</s>", "答え", "é"), STOPS)
def test_an_answer_is_cut_at_the_first_stop_string(text, stops):
    assert _cut(text, stops) == slowly.cut(text, stops)


CHAT = thinking()


@settings(max_examples=60, deadline=None)
@given(made("Question", ":", "Question:", "<think>", "</think>", "\n", tiny.START, "答え", "é", size=8), STOPS)
def test_a_row_stops_with_the_token_that_completes_a_stop_string_in_its_answer(text, stops):
    ids = CHAT.tokenizer(text, add_special_tokens=False)["input_ids"]
    stopped = _stopped(CHAT, Question("", 1, tuple(stops)))
    for end in range(1, len(ids) + 1):
        expected = slowly.cut(response_of(CHAT, ids[:end]).text, stops)[1]
        assert stopped(ids[:end]) == expected
        if expected:
            break


# Code

CODE = ("```", "```python\n", "````", "~~~", "``", "`", "\n", "    ", "\t", "def total(xs):\n", "python", "py3", "3")


@given(made(*CODE, "return 1", "x = 1\n", "@", "else:\n", size=12))
def test_fences_and_statements_are_found_as_a_slow_reader_finds_them(text):
    assert [found.span() for found in humaneval.FENCE.finditer(text)] == slowly.fences(text)
    assert humaneval._statements(text) == slowly.statements(text)


@given(made("\n", "class", "def", "#", "if", "print", "    return 1", " ", "\r\n", "\r"))
def test_a_continued_prompt_ends_where_the_paper_ends_it(text):
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    body, _ = slowly.cut(unified, ["\nclass", "\ndef", "\n#", "\nif", "\nprint"])
    assert humaneval.program("P", "total", text, chat=False) == ("P" + body if body.strip() else None)


BLOCKS = {
    "right": "def total(xs):\n    return {}\n",
    "other": "def half(x):\n    return {}\n",
    "usage": "print(total([{}]))\n",
    "prose": "{}",
}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(BLOCKS)), st.integers(1, 99), st.sampled_from(FILLER)), max_size=5),
    st.sampled_from(["```", "~~~", "````"]),
    st.sampled_from(["", "python", "py", "Python3"]),
)
def test_the_program_is_the_first_fenced_function_whatever_the_prose_says(parts, mark, name):
    lines, values = [], []
    for kind, number, word in parts:
        code = BLOCKS[kind].format(number)
        lines.append(f"{word} {number}:\n" + (code if kind == "prose" else f"{mark}{name}\n{code}{mark}"))
        values += [number] if kind == "right" else []
    found = humaneval.program(test_humaneval.PROMPT, "total", "\n".join(lines), chat=True)
    if not any(kind in ("right", "other") for kind, *_ in parts):  # with a "return" it may be the body
        assert found is None
    if values:
        names = {"__name__": "solution"}
        exec(compile(found, "solution", "exec"), names)
        assert names["total"]([2]) == values[0]


# Nothing to read, and long texts


READERS = {
    "number": lenient_answer,
    "arithmetic": arithmetic_mini.read_number,
    "esci": ESCI._read,
    "esci_cot": COT._read,
    "shop_mini": lambda text: SHOP.score(text, {"label": "Exact"}).values["accuracy"] or None,
    "exact": lambda text: _scorers.Exact(True).judge(text, "4").read,
    "contains": lambda text: _scorers.Contains(True).judge(text, ["4"]).read,
    "medcalc": lambda text: medcalc.read_answer(text, "decimal", 7),
    "medcalc date": lambda text: medcalc.read_answer(text, "date", 13),
    "medcalc weeks": lambda text: medcalc.read_answer(text, "weeks", 69),
    "medcalc official": lambda text: official.read_answer(text, "decimal"),
    "medcalc_mini": lambda text: _medcalc_rules.read_answer(text, "decimal"),
    "reasoning": lambda text: separate(text).reasoning,
    "stop": lambda text: _cut(text, ["Question:"])[1] or None,
    "code continued": partial(humaneval.program, "P", "total", chat=False),
    "code": partial(humaneval.program, test_humaneval.PROMPT, "total", chat=True),
}
SAYS_ANYTHING = {"exact": "\0", "contains": "\0", "code continued": "P\0"}  # NUL is a character like any other


@pytest.mark.parametrize("name", READERS)
def test_nothing_is_read_where_nothing_is(name):
    for text in ("", " ", "\n\t \u3000\u00a0\u2028", "\r\n"):
        assert READERS[name](text) is None, repr(text)
    assert READERS[name]("\0") == SAYS_ANYTHING.get(name)


HOSTILE = (
    *("answer is ", "answer", "answer ", "Answer: ", "**", "(", "<", '"', " ", "\n", "1,", "1 ", "1=", "-", "９"),
    *("<think>", "</think>", "<|channel|>", "to=a", "`", "```", "Exact", "答案是", "कि", "กำ", "😀", "e\u0301", "\0"),
)
LONG = ("answer is ", "**", "(", "1,", "<think>", '"', " ")  # 200 KB of each; of the others a fifth
SLOW = {"number": 10, "code": 10}  # a tenth of it: slow, though linear; test_gsm8k.py has longer texts


@pytest.mark.parametrize("name", READERS)
def test_the_time_does_not_grow_with_the_square_of_the_length(name):
    """All texts take less than 5 s; in time that grows with the square, one of 40 KB does not."""
    started = time.process_time()
    for number, piece in enumerate(sorted(HOSTILE, key=LONG.__contains__)):
        begin = ("", "answer ", "Answer: 1", "x")[number % 4]
        size = (200_000 if piece in LONG else 40_000) // SLOW.get(name, 1)
        READERS[name](begin + piece * (size // len(piece.encode())) + "x")
        assert time.process_time() - started < 5, piece
