"""The embedded general suites: same items everywhere, right verdicts, no network."""

import math
import re
import sys
from collections import Counter
from hashlib import sha256
from itertools import combinations
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tradeoff.evaluation import TASKS, Benchmark, general
from tradeoff.evaluation.tasks import arithmetic_mini, ifeval_mini, knowledge_mini

GENERATED = {"ifeval_mini": (ifeval_mini, "prompt"), "arithmetic_mini": (arithmetic_mini, "question")}
SUITES = GENERATED | {"knowledge_mini": (knowledge_mini, "question")}
ITEMS = {module: module.items()["test"].to_list() for module, _ in SUITES.values()}
METRICS = {
    "ifeval_mini": [
        "prompt_level_strict_acc",
        "inst_level_strict_acc",
        "prompt_level_loose_acc",
        "inst_level_loose_acc",
        "invalid",
    ],
    "arithmetic_mini": ["exact_match", "invalid"],
    "knowledge_mini": ["p_right", "acc", "acc_norm"],
}


class FixedAnswer(LM):
    """Answers everything alike, and finds a choice the likelier the shorter it is."""

    def generate_until(self, requests, **_):
        return ['"The answer is 12, my friend."' for _ in requests]

    def loglikelihood(self, requests, **_):
        return [(-float(len(request.args[1])), False) for request in requests]

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError


@pytest.fixture(params=SUITES)
def suite(request):
    return SUITES[request.param]


# All suites


def test_draws_repeat_and_longer_draws_begin_with_them(suite):
    module, question = suite
    whole = module.items(count=200, seed=3)["test"].to_list()
    assert whole == module.items(count=200, seed=3, version=1.0)["test"].to_list()
    assert [row[question] for row in module.items(count=41, seed=3)["test"]] == [row[question] for row in whole[:41]]
    assert len({row[question] for row in whole}) == 200
    assert whole != module.items(count=200, seed=4)["test"].to_list()
    assert len(module.items()["test"]) == 64


def test_more_items_than_there_are_is_refused(suite):
    module, question = suite
    assert len(set(module.items(count=module.MOST_ITEMS)["test"][question])) == module.MOST_ITEMS
    with pytest.raises(ValueError, match="at most"):
        module.items(count=module.MOST_ITEMS + 1)


def test_items_stay_the_same_unless_the_version_is_raised():
    texts = {name: "\n".join(row[question] for row in ITEMS[module]) for name, (module, question) in SUITES.items()}
    digests = {name: sha256(text.encode()).hexdigest()[:8] for name, text in texts.items()}
    assert digests == {"ifeval_mini": "fc35b9b3", "arithmetic_mini": "99feedf7", "knowledge_mini": "f7695778"}


@pytest.mark.usefixtures("no_network")
def test_suites_run_through_lm_eval_without_a_network():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"count": 8})
    tasks = manager.load(list(SUITES))["tasks"]
    assert {name: list(task.aggregation()) for name, task in tasks.items()} == METRICS
    assert {task.config.num_fewshot for task in tasks.values()} == {0}

    out = simple_evaluate(
        model=FixedAnswer(), tasks=list(SUITES), task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    for name, metrics in METRICS.items():
        samples = out["samples"][name]
        assert len(samples) == 8
        assert {"doc", "target", *metrics} <= set(samples[0])
        assert all(0 <= out["results"][name][f"{metric},none"] <= 1 for metric in metrics)
        if name not in GENERATED:
            continue
        assert out["results"][name]["invalid,none"] == 0
        for sample in samples:
            asked, generation = sample["arguments"][0]
            assert asked.startswith(sample["doc"][SUITES[name][1]])
            assert (generation["do_sample"], generation["max_gen_toks"], generation["until"]) == (False, 48, [])


@settings(deadline=None)  # langdetect loads its profiles at first use
@given(st.text(), st.integers(0, 63))
def test_scoring_never_raises(text, index):
    for module, _ in GENERATED.values():
        values = module.process_results(ITEMS[module][index], [text])
        assert all(value in (0, 1) for value in values.values() if not isinstance(value, list))


# ifeval_mini

ARGUMENTS = sorted({name for row in ITEMS[ifeval_mini] for kwargs in row["kwargs"] for name in kwargs})


def verdict(response, *instructions):
    """Metrics of a response, its document filled with None as Arrow does."""
    ids, kwargs = zip(*instructions, strict=True)
    filled = [dict.fromkeys(ARGUMENTS) | k for k in kwargs]
    doc = {"key": 0, "prompt": "Ask.", "instruction_id_list": list(ids), "kwargs": filled}
    return ifeval_mini.process_results(doc, [response])


@pytest.mark.parametrize(
    ("instruction", "kwargs", "followed", "broken"),
    [
        ("keywords:existence", {"keywords": ["good", "day"]}, "A GOOD thing to-day.", "A good thing."),
        ("keywords:frequency", {"keyword": "new", "frequency": 2, "relation": "at least"}, "New is new.", "New."),
        ("keywords:forbidden_words", {"forbidden_words": ["the"]}, "They sleep.", "The cat."),
        ("keywords:letter_frequency", {"letter": "b", "let_frequency": 3, "let_relation": "at least"}, "Bbb", "bb"),
        ("keywords:letter_frequency", {"letter": "s", "let_frequency": 3, "let_relation": "less than"}, "ss", "Sss"),
        (
            "length_constraints:number_words",
            {"num_words": 3, "relation": "less than"},
            "Two words.",
            "Now three words.",
        ),
        ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "Now three words.", "Two words."),
        ("change_case:english_lowercase", {}, "the sun is warm and bright today.", "The sun is warm today."),
        ("change_case:english_capital", {}, "THE SUN IS WARM AND BRIGHT TODAY.", "The SUN IS WARM TODAY."),
        ("punctuation:no_comma", {}, "No commas here.", "Well, one."),
        ("startend:quotation", {}, ' "Yes."\n', '"Yes," she said.'),
        ("startend:end_checker", {"end_phrase": "That is all."}, "Go home. That is all.", "That is all. Bye."),
        ("detectable_format:title", {}, "<<Rain>>\nIt rains.", "<<>> It rains."),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "- a\n* b", "- a\n- b\n- c"),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "So *good*.", "So good."),
        ("detectable_content:number_placeholders", {"num_placeholders": 1}, "Dear [name]", "Dear name"),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Write!", "Bye. PS Write!"),
        ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ],
)
def test_verdicts_on_each_instruction(instruction, kwargs, followed, broken):
    right, wrong = (verdict(response, (instruction, kwargs)) for response in (followed, broken))
    assert right == dict.fromkeys(METRICS["ifeval_mini"], True) | {
        "inst_level_strict_acc": [True],
        "inst_level_loose_acc": [True],
        "invalid": 0.0,
    }
    assert wrong["inst_level_strict_acc"] == [False]
    assert not wrong["prompt_level_strict_acc"]


def test_a_prompt_needs_all_its_instructions_and_loose_forgives_a_first_line():
    both = [("punctuation:no_comma", {}), ("detectable_content:number_placeholders", {"num_placeholders": 1})]
    half = verdict("Dear [name], hello.", *both)
    assert (half["prompt_level_strict_acc"], half["inst_level_strict_acc"]) == (False, [False, True])
    chatty = verdict("Sure, here it is:\nDear [name]", *both)
    assert (chatty["prompt_level_strict_acc"], chatty["prompt_level_loose_acc"]) == (False, True)
    assert ifeval_mini.pooled_mean([[True], [False, True]]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("response", ["", " \n\t"])
def test_an_empty_response_is_invalid_and_follows_nothing(response):
    empty = verdict(response, ("punctuation:no_comma", {}))
    assert (empty["invalid"], empty["prompt_level_strict_acc"], empty["prompt_level_loose_acc"]) == (1.0, False, False)


FOLLOW = {
    "keywords:existence": lambda keywords: " ".join(keywords),
    "keywords:frequency": lambda keyword, frequency, relation: " ".join([keyword] * frequency),
    "keywords:forbidden_words": lambda forbidden_words: "Cats sleep.",
    "keywords:letter_frequency": lambda letter, let_frequency, let_relation: (
        letter * let_frequency if let_relation == "at least" else "Fun."
    ),
    "length_constraints:number_words": lambda num_words, relation: (
        "go " * (num_words if relation == "at least" else num_words - 1)
    ),
    "change_case:english_lowercase": lambda: "the weather is warm and the children play outside.",
    "change_case:english_capital": lambda: "THE WEATHER IS WARM AND THE CHILDREN PLAY OUTSIDE.",
    "punctuation:no_comma": lambda: "Sleep well.",
    "startend:quotation": lambda: '"Sleep well."',
    "startend:end_checker": lambda end_phrase: f"Sleep well. {end_phrase}",
    "detectable_format:title": lambda: "<<Sleep>> Sleep well.",
    "detectable_format:number_bullet_lists": lambda num_bullets: "- sleep\n" * num_bullets,
    "detectable_format:number_highlighted_sections": lambda num_highlights: "*sleep* " * num_highlights,
    "detectable_content:number_placeholders": lambda num_placeholders: "[name] " * num_placeholders,
    "detectable_content:postscript": lambda postscript_marker: f"Sleep well. {postscript_marker} Eat well.",
    "detectable_format:constrained_response": lambda: "My answer is maybe.",
}


@pytest.mark.parametrize(
    ("instruction", "kwargs"), [(c.id, kwargs) for c in ifeval_mini.CONSTRAINTS for kwargs in c.options]
)
def test_every_instruction_of_the_generator_can_be_followed(instruction, kwargs):
    assert verdict(FOLLOW[instruction](**kwargs), (instruction, kwargs))["prompt_level_strict_acc"]


def test_prompts_join_one_or_two_instructions_that_do_not_conflict():
    rows = ifeval_mini.items(300)["test"].to_list()
    sizes = [len(row["instruction_id_list"]) for row in rows]
    assert set(sizes) == {1, 2}
    assert {i for row in rows[: len(ifeval_mini.CONSTRAINTS)] for i in row["instruction_id_list"]} == set(FOLLOW)
    fixes = {constraint.id: set(constraint.fixes.split()) for constraint in ifeval_mini.CONSTRAINTS}
    for first, second in (row["instruction_id_list"] for row in rows if len(row["instruction_id_list"]) == 2):
        assert not fixes[first] & fixes[second]
        conflicts = sys.modules["lm_eval.tasks.ifeval.instructions_registry"].INSTRUCTION_CONFLICTS
        assert second not in conflicts[first]
        assert first not in conflicts[second]


# arithmetic_mini


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("The answer is 1,200.", 1200),
        ("so 3 + 4 = 7", 7),
        ("Answer: $15.", 15),
        ("Answer: 3 + 4 = 7", 7),
        ("Answer: $2.50 + $4.50 = $7.00", 7),
        ("Answer: 7\nBecause 3 + 4 = 7 and 7 > 4.", 7),
        ("Answer: 7. Check: 2 + 2 = 4", 7),
        ("The answer is 9. No, the ANSWER is **7** apples, not 9.", 7),
        ("3 + 4 is 7. That is my answer.", 7),
        ("10-3", 3),
        ("It is -2", -2),
        ("$1,234,567", 1234567),
        ("7.0", 7),
        ("", None),
        ("seven", None),
        ("Answer: x2", None),
    ],
)
def test_the_number_read(response, number):
    assert arithmetic_mini.read_number(response) == number
    scores = arithmetic_mini.process_results({"answer": 7}, [response])
    assert scores == {"exact_match": float(number == 7), "invalid": float(number is None)}


SOLVE = {
    "and buys .* more. How": lambda a, b: a + b,
    "gives .* of them to a friend": lambda a, b: a - b,
    "How many dollars do .* tickets cost": lambda a, b: a * b,
    "equally among": lambda a, b: a // b,
    "Then .* loses": lambda a, b, c: a + b - c,
    "on a bus": lambda a, b, c: a - b + c,
    "boxes with": lambda a, b, c: a * b + c,
    "equal rows": lambda a, b, c: (a + b) // c,
}


def test_answers_follow_from_the_numbers_in_the_text():
    rows = ITEMS[arithmetic_mini]
    for pattern, solve in SOLVE.items():
        solved = [row for row in rows if re.search(pattern, row["question"])]
        assert solved, pattern
        for row in solved:
            assert row["answer"] == solve(*map(int, re.findall(r"\d+", row["question"]))), row["question"]


def test_half_the_problems_take_two_steps_and_answers_are_positive():
    rows = arithmetic_mini.items(500)["test"].to_list()
    assert [row["steps"] for row in rows[:4]] == [1, 2, 1, 2]
    assert sum(row["steps"] == 2 for row in rows) == 250
    assert all(row["answer"] > 0 for row in rows)
    assert all(len(re.findall(r"\d+", row["question"])) == row["steps"] + 1 for row in rows)


# knowledge_mini

KNOWLEDGE = knowledge_mini.items(None, seed=5)["test"].to_list()


def words(row):
    """An item's words, without case, signs and order."""
    return frozenset(re.findall(r"[a-z0-9]+", " ".join([row["question"], *row["choices"]]).lower()))


def test_the_table_has_every_item_once_and_as_it_was_written():
    head, *lines = knowledge_mini.FILE.read_text(encoding="utf-8").splitlines()
    assert head.split("\t") == ["part", "question", "right", "wrong1", "wrong2", "wrong3"]
    table = {tuple(line.split("\t")) for line in lines}
    assert len(table) == len(lines) == len(KNOWLEDGE) == knowledge_mini.MOST_ITEMS
    assert sha256("\n".join(lines).encode()).hexdigest()[:8] == "5072b7d0", "raise the version with any change"
    for row in KNOWLEDGE:
        wrong = [choice for choice in row["choices"] if choice != row["answer"]]
        assert (row["part"], row["question"], row["answer"], *wrong) in table
    assert all(cell == cell.strip() and "  " not in cell and '""' not in cell for row in table for cell in row)


def test_a_question_has_four_distinct_choices():
    for row in KNOWLEDGE:
        assert len({choice.lower() for choice in row["choices"]}) == 4, row
        assert row["question"].endswith(("?", ".")), row


@pytest.mark.parametrize("part", knowledge_mini.PARTS)
def test_parts_and_places_are_balanced_and_length_does_not_tell(part):
    rows = [row for row in KNOWLEDGE if row["part"] == part]
    assert len(rows) == 134
    assert set(Counter(row["choices"].index(row["answer"]) for row in rows).values()) == {33, 34}
    right = [len(row["answer"]) for row in rows]
    others = [len(choice) for row in rows for choice in row["choices"] if choice != row["answer"]]
    assert mean(right) == pytest.approx(mean(others), rel=0.1)
    for extreme in (min, max):  # a guess by length, ties drawn by lot
        guesses = []
        for row, length in zip(rows, right, strict=True):
            lengths = [len(choice) for choice in row["choices"]]
            guesses.append((length == extreme(lengths)) / lengths.count(extreme(lengths)))
        assert 0.15 < mean(guesses) < 0.3


def test_parts_take_turns_in_every_draw():
    assert [row["part"] for row in ITEMS[knowledge_mini][:6]] == [*knowledge_mini.PARTS] * 2


def test_no_two_items_are_nearly_the_same():
    for one, other in combinations(map(words, KNOWLEDGE), 2):
        assert len(one & other) <= 0.6 * len(one | other), (one, other)
    assert len({row["question"].lower() for row in KNOWLEDGE}) == len(KNOWLEDGE)


def test_an_item_is_the_same_in_every_draw():
    drawn = {row["question"]: row for row in KNOWLEDGE}
    assert all(drawn[row["question"]] == row for row in ITEMS[knowledge_mini])


DOC = {"choices": ["a cat", "a horse", "an ox", "a dog"], "answer": "a horse"}


@pytest.mark.parametrize(
    ("log_likelihoods", "p_right", "acc", "acc_norm"),
    [
        # Of 1, 2, 4 and 8 parts of 15 the right choice has 2; a character of it costs least.
        ([math.log(x) for x in (1e-9, 2e-9, 4e-9, 8e-9)], 2 / 15, 0, 1),
        ([-3.0, -3.0 + math.log(3), -3.0, -3.0], 0.5, 1, 1),
        # Per character -0.4, -0.5, -1.8 and -1.8.
        ([-2.0, -3.5, -9.0, -9.0], 1 / (1 + math.exp(1.5) + 2 * math.exp(-5.5)), 0, 0),
        ([-5.0, -5.0, -5.0, -5.0], 0.25, 0, 1),  # a tie goes to the first, as in lm-eval
        ([-1.0, -5000.0, -1.0, -1.0], 0, 0, 0),
        ([-5000.0, -1.0, -5000.0, -5000.0], 1, 1, 1),
    ],
)
def test_scores_of_a_choice(log_likelihoods, p_right, acc, acc_norm):
    found = knowledge_mini.process_results(DOC, [(value, False) for value in log_likelihoods])
    assert found == {"p_right": pytest.approx(p_right), "acc": acc, "acc_norm": acc_norm}


@pytest.mark.usefixtures("no_network")
def test_acc_and_acc_norm_are_lm_evals():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"count": None})
    (task,) = manager.load(["knowledge_mini"])["tasks"].values()
    docs = list(task.test_docs())
    results = [
        [(-float((3 * i + 7 * k) % 11 + len(c)), False) for k, c in enumerate(d["choices"])] for i, d in enumerate(docs)
    ]
    ours = [task.process_results(doc, result) for doc, result in zip(docs, results, strict=True)]
    task.set_config("process_results", None)
    for doc, result, own in zip(docs, results, ours, strict=True):
        theirs = task.process_results(doc, result)
        assert {"acc": own["acc"], "acc_norm": own["acc_norm"]} == theirs


@pytest.mark.usefixtures("no_network")
def test_a_choice_goes_on_after_the_beginning_of_the_answer():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"count": 1})
    (task,) = manager.load(["knowledge_mini"])["tasks"].values()
    (doc,) = task.test_docs()
    task.build_all_requests()
    assert [i.args for i in task.instances] == [
        (f"{doc['question']} Answer:", f" {choice}") for choice in doc["choices"]
    ]
    task.build_all_requests(
        apply_chat_template=True,
        chat_template=lambda turns, add_generation_prompt: f"{add_generation_prompt} {[t['content'] for t in turns]}",
    )
    assert task.instances[0].args[0] == f"False {[doc['question'], 'Answer:']}"


def test_it_is_a_benchmark_that_generates_nothing():
    known = Benchmark("knowledge_mini", "1.0", ("p_right", "acc", "acc_norm"))
    assert general("knowledge_mini") == known
    assert (known.max_new_tokens, known.num_fewshot, known.bounded) == (None, None, True)
