"""The embedded general suites: same items everywhere, right verdicts, no network."""

import re
import sys
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tradeoff.evaluation import TASKS
from tradeoff.evaluation.tasks import arithmetic_mini, ifeval_mini

SUITES = {"ifeval_mini": (ifeval_mini, "prompt"), "arithmetic_mini": (arithmetic_mini, "question")}
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
}


class FixedAnswer(LM):
    """Answers everything alike."""

    def generate_until(self, requests, **_):
        return ['"The answer is 12, my friend."' for _ in requests]

    def loglikelihood(self, requests, **_):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError


@pytest.fixture(params=SUITES)
def suite(request):
    return SUITES[request.param]


# Both suites


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
    assert digests == {"ifeval_mini": "fc35b9b3", "arithmetic_mini": "99feedf7"}


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
        assert out["results"][name]["invalid,none"] == 0
        for sample in samples:
            asked, generation = sample["arguments"][0]
            assert asked.startswith(sample["doc"][SUITES[name][1]])
            assert (generation["do_sample"], generation["max_gen_toks"], generation["until"]) == (False, 48, [])


@settings(deadline=None)  # langdetect loads its profiles at first use
@given(st.text(), st.integers(0, 63))
def test_scoring_never_raises(text, index):
    for module, _ in SUITES.values():
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
