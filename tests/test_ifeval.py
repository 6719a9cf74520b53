"""IFEval: each of its instructions can be checked offline, with lm-eval's verdict, and that verdict never varies."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import lm_eval
import nltk
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import slowly
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from tradeoff.evaluation import TASKS, ifeval_checks
from tradeoff.evaluation.tasks import ifeval
from tradeoff.provenance import SOURCE

ACCURACIES = [
    "prompt_level_strict_acc",
    "inst_level_strict_acc",
    "prompt_level_loose_acc",
    "inst_level_loose_acc",
]
MOST = {"relation": "less than"}
LEAST = {"relation": "at least"}
WEATHER = "the sun is warm and bright, and the children play outside."

# Instruction, arguments, a response that follows it, one that does not.
INSTRUCTIONS = [
    ("keywords:existence", {"keywords": ["good", "day"]}, "A GOOD thing to-day.", "A good thing."),
    ("keywords:frequency", {"keyword": "new", "frequency": 2, **LEAST}, "New is new.", "New."),
    ("keywords:forbidden_words", {"forbidden_words": ["the"]}, "They sleep.", "The cat."),
    ("keywords:letter_frequency", {"letter": "b", "let_frequency": 3, "let_relation": "at least"}, "Bbb", "bb"),
    ("language:response_language", {"language": "de"}, "Die Sonne scheint und das Wetter ist schön.", WEATHER),
    ("length_constraints:number_sentences", {"num_sentences": 2, **LEAST}, "Dr. Bo left. He ran.", "Dr. Bo left."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", "One.\n\nTwo."),
    ("length_constraints:number_words", {"num_words": 3, **MOST}, "Two words.", "Now three words."),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First.\n\nThen, more.",
        "First.\n\nNow more.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "Dear [name] of [town]", "Dear [name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Write!", "Bye. PS Write!"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b", "* a\n* b\n* c"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "So *good*.", "So good."),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\nA.\nSection 2\nB.",
        "Section 1\nA.",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<Rain>>\nIt rains.", "<<>> It rains."),
    ("combination:two_responses", {}, "Yes.******No.", "Yes.******Yes."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi. Hi!", "Hi!"),
    ("startend:end_checker", {"end_phrase": "That is all."}, "Go home. That is all.", "That is all. Bye."),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "We met in the U.S. at NASA.",
        "We met at NASA.",
    ),
    ("change_case:english_capital", {}, WEATHER.upper(), WEATHER),
    ("change_case:english_lowercase", {}, WEATHER, WEATHER.capitalize()),
    ("punctuation:no_comma", {}, "No commas here.", "Well, one."),
    ("startend:quotation", {}, ' "Yes."\n', '"Yes," she said.'),
]
ROWS = [
    {"key": 1000 + n, "prompt": f"Prompt {n}.", "instruction_id_list": [instruction], "kwargs": [kwargs]}
    for n, (instruction, kwargs, _, _) in enumerate(INSTRUCTIONS)
]
ARGUMENTS = sorted({name for row in ROWS for name in row["kwargs"][0]})


class Follows(LM):
    """Gives each item the response that follows its instruction."""

    def generate_until(self, requests, **_):
        assert all((r.args[1]["max_gen_toks"], r.args[1]["until"]) == (1280, []) for r in requests)
        return [INSTRUCTIONS[request.doc["key"] - 1000][2] for request in requests]

    def loglikelihood(self, requests, **_):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "ifeval.jsonl", ROWS)


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"ifeval": str(path)}


def filled(row):
    """A row as Arrow gives it back: with all arguments, None but for the instruction's own."""
    return {**row, "kwargs": [dict.fromkeys(ARGUMENTS) | kwargs for kwargs in row["kwargs"]]}


def verdict(response, instruction, kwargs):
    row = {"key": 0, "prompt": "Ask.", "instruction_id_list": [instruction], "kwargs": [kwargs]}
    return ifeval.process_results(filled(row), [response])


def followed(response, instruction, kwargs):
    return verdict(response, instruction, kwargs)["prompt_level_strict_acc"]


# Verdicts


def test_the_rows_above_have_every_instruction():
    assert [row[0] for row in INSTRUCTIONS] == list(ifeval_checks.instructions_registry.INSTRUCTION_DICT)
    assert len(INSTRUCTIONS) == 25


@pytest.mark.parametrize(("instruction", "kwargs", "right", "wrong"), INSTRUCTIONS)
def test_each_instruction_is_followed_or_not(instruction, kwargs, right, wrong):
    assert verdict(right, instruction, kwargs) == {
        "prompt_level_strict_acc": True,
        "inst_level_strict_acc": [True],
        "prompt_level_loose_acc": True,
        "inst_level_loose_acc": [True],
        "invalid": 0.0,
    }
    assert verdict(wrong, instruction, kwargs)["inst_level_strict_acc"] == [False]
    empty = verdict(" \n", instruction, kwargs)
    assert (empty["invalid"], empty["prompt_level_strict_acc"], empty["prompt_level_loose_acc"]) == (1.0, False, False)


# As NLTK's punkt_tab counts, not as a person would: "Really??" at the end of a text is two.
@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One.", 1),
        ("One. Two! Three? Four", 4),
        ("Dr. Smith of Acme Inc. paid Mr. Brown $3.50 in Jan. for J. Bach.", 1),
        ("It ends at 5 p.m. The rest is sleep.", 2),
        ("He said (loudly.) Then he left.", 2),
        ("She said, 'Go.' He went.", 2),
        ("Wait... what", 1),
        ("Really??", 2),
        ("- one\n- two\n- three", 1),
        ("1. One\n2. Two", 3),
        ("", 0),
    ],
)
def test_sentences_are_counted_as_nltk_does(text, sentences):
    assert ifeval_checks.instructions_util.count_sentences(text) == sentences


def test_words_are_split_as_nltk_does():
    assert nltk.word_tokenize("NASA's U.S. HQ: it can't. STOP.") == [
        *("NASA", "'s", "U.S.", "HQ", ":", "it", "ca", "n't", "."),
        *("STOP", "."),
    ]


def test_nltks_own_data_are_used_where_they_are(tmp_path, monkeypatch):
    tables = tmp_path / "tokenizers" / "punkt_tab" / "english"
    tables.mkdir(parents=True)
    for name, text in (("abbrev_types.txt", "zzz\n"), ("collocations.tab", ""), ("sent_starters.txt", "")):
        (tables / name).write_text(text)
    (tables / "ortho_context.tab").write_text("")
    sentences = "It was zzz. She left. He met Dr. Bo."

    def counted():
        for cached in (ifeval_checks.instructions_util._get_sentence_tokenizer, nltk.tokenize._get_punkt_tokenizer):
            cached.cache_clear()
        ifeval_checks._settle()
        return ifeval_checks.instructions_util.count_sentences(sentences), len(nltk.sent_tokenize(sentences))

    before = counted()
    with monkeypatch.context() as patch:
        patch.setattr(nltk.data, "path", [str(tmp_path)])
        assert counted() == (3, 3)
    assert counted() == before == (3, 3)


LETTERS = "keywords:letter_frequency", {"letter": "#", "let_frequency": 3, "let_relation": "at least"}


def test_what_is_no_letter_is_counted_as_asked():
    assert [followed("aaaaa bbb", *LETTERS) for _ in range(9)] == [False] * 9
    assert [followed("#x #y #z", *LETTERS) for _ in range(9)] == [True] * 9
    for letter in ("!", "é", "É", "ß", "5"):
        arguments = {**LETTERS[1], "letter": letter}
        assert followed(3 * letter, LETTERS[0], arguments)
        assert not followed("abc" * 9, LETTERS[0], arguments)


ELSEWHERE = """
import json, socket, sys
import nltk
def refuse(*_, **__): raise AssertionError("a connection was opened")
socket.socket.connect = socket.getaddrinfo = nltk.download = refuse
from tradeoff.evaluation.ifeval_checks import process_results
print(json.dumps([process_results(row, [text]) for row, text in json.load(sys.stdin)]))
"""

pytestmark = pytest.mark.usefixtures("no_network")


def test_verdicts_are_the_same_in_another_process_and_come_without_a_download():
    mixed = [(filled(row), text) for row in ROWS for text in ("la casa is gut, oui. ***** A", "Ja. NO no! [x] *y*")]
    mixed.append((filled({**ROWS[0], "instruction_id_list": [LETTERS[0]], "kwargs": [LETTERS[1]]}), "banana"))
    here = [ifeval.process_results(row, [text]) for row, text in mixed]
    there = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=json.dumps(mixed),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(SOURCE)},
    )
    assert there.stdout == json.dumps(here) + "\n"
    assert here == [ifeval.process_results(row, [text]) for row, text in mixed]


@settings(deadline=None, max_examples=400)  # langdetect loads its profiles at first use
@given(
    st.text() | st.lists(st.sampled_from(["A", "b.", "?!", "\n\n", "*", "[", "]", " ", "{", '"', "***"])).map("".join),
    st.sampled_from(ROWS),
)
def test_scoring_never_raises(text, row):
    values = ifeval.process_results(filled(row), [text])
    assert list(values) == [*ACCURACIES, "invalid"]
    assert values["invalid"] == float(not text.strip())


def as_shipped():
    """lm-eval's module of checkers once more, without what `ifeval_checks` changes in it."""
    spec = importlib.util.find_spec("lm_eval.tasks.ifeval.instructions")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHIPPED = as_shipped()


def pieces_between(text, divider):
    """A text split at a divider, which takes one white space on each side with it."""
    found, start = [], 0
    for at in slowly.places(text, divider):
        if at >= start:
            found.append(text[start : at - (at > start and text[at - 1].isspace())])
            start = at + len(divider)
            start += text[start : start + 1].isspace()
    return [*found, text[start:]]


def paragraphs_of_stars(text):
    parts = pieces_between(text, "***")
    return len([p for p in parts if p.strip()]) if all(p.strip() for p in parts[1:-1]) else -1


def bullets(text):
    """Lines whose first visible character is "-", or a "*" with another one after it, which may be a line's end."""
    lines, count = text.split("\n"), 0
    for sign in "*-":
        skip = False
        for number, line in enumerate(lines):
            after = line.lstrip()[1:2] or "\n" * (number + 1 < len(lines))
            is_one = line.lstrip()[:1] == sign and (sign == "-" or after not in ("", "*"))
            if is_one and not skip:
                count += 1
                skip = sign == "*" and after == "\n"
            else:
                skip = False
    return count


def highlights(text):
    """Between single stars, and once more between double ones, with something to see in them."""
    count = 0
    for star in ("*", "**"):
        at = 0
        while (start := text.find(star, at)) >= 0:
            inner = start + len(star)
            end = next((i for i in range(inner, len(text)) if text[i] in "*\n"), len(text))
            closed = text.startswith(star, end)
            count += closed and bool(text[inner:end].strip())
            at = end + len(star) if closed else start + 1
    return count


def placeholders(text):
    count = 0
    for line in text.split("\n"):
        opened = False
        for character in line:
            count += opened and character == "]"
            opened = character == "[" or (opened and character != "]")
    return count


def titled(text):
    lines = [line for line in text.split("\n") if "<<" in line and ">>" in line]
    spans = [(line.index("<<"), line.rindex(">>"), line) for line in lines]
    return any(end - start >= 3 and line[start:end].strip("<").strip(">").strip() for start, end, line in spans)


def sections(text):
    count, at = 0, 0
    while (at := text.find("Section", at)) >= 0:
        at += len("Section")
        at += text[at : at + 1].isspace()
        count += text[at : at + 1].isdecimal()
    return count


def first_word_of_second(text):
    """Of two paragraphs that are not empty; with an empty one between, the second place is empty."""
    parts = text.split("\n\n")
    word = (parts[1].split() or [""])[0] if len(parts) > 1 else ""
    word = word.lstrip("'").lstrip('"')
    end = next((i for i, c in enumerate(word) if c in ".,?!'\""), len(word))
    return len([p for p in parts if p.strip()]) == 2 and word[:end].lower() == "then"


def two_responses(text):
    parts = text.split("******")
    said = [p for p in parts if p.strip()]
    return all(p.strip() for p in parts[1:-1]) and len(said) == 2 and said[0].strip() != said[1].strip()


def is_json(text):
    text = text.strip()
    for begins in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(begins)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def postscript(text):
    text = text.lower()
    found = (text[i + 2 :] for i in slowly.places(text, "p."))
    return any(rest.startswith("s.") or (rest[:1].isspace() and rest[1:].startswith("s.")) for rest in found)


def count_of(text, word):
    """Not overlapping."""
    return len(text.lower().split(word)) - 1


def count_of_words(text):
    """Of letters, their marks, digits, connectors such as _ and joiners, as NLTK has it: an emoji's joiner is one."""
    kinds = ["w" if unicodedata.category(c)[0] in "LM" or unicodedata.category(c) in ("Nd", "Pc") else c for c in text]
    return len("".join("w" if c in ("w", "\u200c", "\u200d") else " " for c in kinds).split())


# Whether a text follows an instruction with the arguments above.
SLOWLY = {
    "keywords:existence": lambda t: count_of(t, "good") > 0 and count_of(t, "day") > 0,
    "keywords:frequency": lambda t: count_of(t, "new") >= 2,
    "keywords:forbidden_words": lambda t: "the" not in slowly.words(t.lower()),
    "keywords:letter_frequency": lambda t: sum(c == "b" for c in t.lower()) >= 3,
    "length_constraints:number_paragraphs": lambda t: paragraphs_of_stars(t) == 2,
    "length_constraints:number_words": lambda t: count_of_words(t) < 3,
    "length_constraints:nth_paragraph_first_word": first_word_of_second,
    "detectable_content:number_placeholders": lambda t: placeholders(t) >= 2,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": lambda t: bullets(t) == 2,
    "detectable_format:constrained_response": lambda t: any(f"My answer is {a}." in t for a in ("yes", "no", "maybe")),
    "detectable_format:number_highlighted_sections": lambda t: highlights(t) >= 1,
    "detectable_format:multiple_sections": lambda t: sections(t) >= 2,
    "detectable_format:json_format": is_json,
    "detectable_format:title": titled,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": lambda t: t.strip().lower()[: len("Say hi.")] == "say hi.",
    "startend:end_checker": lambda t: t.strip().strip('"').lower()[-len("That is all.") :] == "that is all.",
    "punctuation:no_comma": lambda t: all(c != "," for c in t),
    "startend:quotation": lambda t: len(t.strip()) > 1 and t.strip()[0] == t.strip()[-1] == '"',
}
# What only the tables of a language, or a model of it, decide.
BY_LANGUAGE = {
    "language:response_language",
    "length_constraints:number_sentences",
    *("change_case:capital_word_frequency", "change_case:english_capital", "change_case:english_lowercase"),
}
BITS = (
    *("good", "day", "New ", "the ", "b", "then", "My answer is no.", "Say hi.", "That is all.", "Section 1", "P.S."),
    *("*", "**", "***", "******", "- ", "[", "]", "<<", ">>", "<", ">", "{", "}", '"', "```json", "1", "p. ", "s."),
    *("\n", "\n\n", " ", "\t", "\x0b", "\u2028", ",", ".", "'"),
)
WRITTEN = st.lists(st.sampled_from([*BITS, *(word for word, _ in slowly.WORDS.values())]), max_size=14).map("".join)


def test_each_instruction_is_checked_slowly_or_by_its_language():
    assert SLOWLY.keys() | BY_LANGUAGE == {row[0] for row in INSTRUCTIONS}


@settings(max_examples=150, deadline=None)
@given(WRITTEN)
def test_verdicts_are_those_of_a_slow_reader_and_of_lm_eval_as_shipped(text):
    for instruction, kwargs, _, _ in INSTRUCTIONS:
        if instruction in BY_LANGUAGE:
            continue
        shipped = getattr(SHIPPED, ifeval_checks.instructions_registry.INSTRUCTION_DICT[instruction].__name__)("")
        shipped.build_description(**kwargs)
        expected = bool(text.strip()) and SLOWLY[instruction](text)
        found = verdict(text, instruction, kwargs)
        assert found["inst_level_strict_acc"] == [expected], instruction
        assert expected == (bool(text.strip()) and shipped.check_following(text)), instruction
        lines = text.split("\n")
        cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
        loose = [form for whole in (text, *cut) for form in (whole, whole.replace("*", "")) if form.strip()]
        assert found["inst_level_loose_acc"] == [any(map(SLOWLY[instruction], loose))], instruction


def test_json_that_is_nested_too_deep_is_none():
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        assert not followed(text, "detectable_format:json_format", {})


def test_no_long_text_is_slow():
    """200 KB for each checker that does not look into the language, less than 5 s in all."""
    logging.getLogger(SHIPPED.__name__).setLevel(logging.CRITICAL)
    started = time.process_time()
    for piece in ("[", "<<", " ", "\n", "**", "answer is ", '"', "1,", "{", "p.", "क"):
        for instruction, kwargs, _, _ in INSTRUCTIONS:
            if instruction in SLOWLY:
                checker = ifeval_checks.instructions_registry.INSTRUCTION_DICT[instruction](instruction)
                checker.build_description(**kwargs)
                checker.check_following("x" + piece * (200_000 // len(piece.encode())) + "x")
                assert time.process_time() - started < 5, (instruction, piece)


# The task


def test_settings_are_those_of_lm_eval():
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda _, node: node.value)
    texts = (Path(lm_eval.__file__).parent / "tasks/ifeval/ifeval.yaml", TASKS / "ifeval.yaml")
    theirs, ours = (yaml.load(path.read_text(), loader) for path in texts)
    assert theirs["metadata"]["version"] == 4.0
    for key in ("doc_to_text", "generation_kwargs", "num_fewshot", "output_type"):
        assert ours[key] == theirs[key], key
    assert [metric["metric"] for metric in theirs["metric_list"]] == ACCURACIES
    assert [metric["metric"] for metric in ours["metric_list"]] == [*ACCURACIES, "invalid"]


def test_it_runs_through_lm_eval(file):
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"files": file})
    (task,) = manager.load(["ifeval"])["tasks"].values()
    out = evaluate(Follows(), {"ifeval": task}, bootstrap_iters=0, log_samples=True)
    assert [out["results"]["ifeval"][f"{name},none"] for name in (*ACCURACIES, "invalid")] == [1, 1, 1, 1, 0]
    assert [row["arguments"][0][0] for row in out["samples"]["ifeval"]] == [row["prompt"] for row in ROWS]
    assert [row["target"] for row in out["samples"]["ifeval"]] == [instruction for instruction, *_ in INSTRUCTIONS]
    assert ifeval.pooled_mean([[True], [False, True]]) == pytest.approx(2 / 3)


def test_draws_repeat_and_longer_draws_begin_with_them(file):
    def drawn(count, seed=3):
        return ifeval.items(count, seed, file, chat=True, version=1.0)["test"]["key"]

    whole = drawn(25)
    assert drawn(5) == whole[:5] == drawn(5)
    assert drawn(5) != drawn(5, seed=4)
    assert drawn(None) == sorted(whole) == [row["key"] for row in ROWS]
    with pytest.raises(ValueError, match="gives 25 examples, and 26 are asked for"):
        drawn(26)


def test_parquet_holds_the_same_and_arguments_are_the_instructions_own(file, tmp_path):
    path = tmp_path / "ifeval.parquet"
    pq.write_table(pa.Table.from_pylist([{**filled(row), "extra": 1} for row in ROWS]), path)
    assert ifeval._rows(str(path)) == ifeval._rows(file["ifeval"]) == ROWS
    alone = ifeval.items(files=written(tmp_path / "one.jsonl", [ROWS[-1]]))["test"][0]
    assert ifeval.process_results(alone, ['"Yes."'])["prompt_level_strict_acc"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": None}, "has no prompt"),
        ({"kwargs": "{}"}, "has no kwargs"),
        ({"kwargs": []}, "has 1 instructions and kwargs for 0"),
        ({"kwargs": [{"keywords": None}]}, "has no keywords, which keywords:existence needs"),
        ({"instruction_id_list": ["keyword:existence"]}, "lm-eval has no instruction 'keyword:existence'"),
    ],
)
def test_a_row_that_cannot_be_checked_is_named(tmp_path, change, message):
    files = written(tmp_path / "odd.jsonl", [ROWS[3], {**ROWS[0], **change}])
    with pytest.raises(ValueError, match=rf"odd\.jsonl, row 2: {message}"):
        ifeval.items(files=files)
