"""Training and test examples of one file or of two: what is held out, what is dropped, what is nearly equal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tradeoff import domains
from tradeoff.domains import Example, _splits
from tradeoff.domains._splits import apart, held_out, near


def examples(*prompts, system=None):
    head = ({"role": "system", "content": system},) if system else ()
    return [
        Example(f"train-{n:05d}", (*head, {"role": "user", "content": p}), "4", {}) for n, p in enumerate(prompts, 1)
    ]


def asked(found):
    return [example.messages[-1]["content"] for example in found]


MANY = [f"What is {n} + {n}?" for n in range(1000)]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_is_held_out_on_average(share):
    train, test = held_out(examples(*MANY), share)
    assert len(test) == pytest.approx(share * len(MANY), abs=4 * (len(MANY) * share * (1 - share)) ** 0.5)
    assert sorted(asked(train) + asked(test)) == sorted(MANY)


@given(st.lists(st.integers(0, 40), min_size=5, max_size=60), st.sampled_from([0.2, 0.5, 1, 3]), st.randoms())
def test_a_prompt_stays_where_it_is_when_rows_come_and_prompts_are_never_parted(numbers, part, random):
    prompts = [MANY[n] for n in numbers]
    few = examples(*prompts[: len(prompts) // 2 + 1])
    shuffled = examples(*random.sample(prompts, len(prompts)))
    try:
        (before, _), (train, test) = held_out(few, part), held_out(shuffled, part)
    except ValueError:
        return
    assert not set(asked(train)) & set(asked(test))
    if part < 1:
        assert set(asked(before)) <= set(asked(train))
    else:
        assert len(set(asked(test))) == part


def test_a_new_row_displaces_one_of_a_number_at_most():
    _, before = held_out(examples(*MANY[:100]), 10)
    _, after = held_out(examples(*MANY[:101]), 10)
    assert len(set(asked(before)) - set(asked(after))) <= 1


def test_white_space_and_the_system_prompt_do_not_move_a_prompt():
    spaced = [prompt.replace(" ", " \n") for prompt in MANY]
    for other in (examples(*spaced), examples(*MANY, system="Be brief.")):
        assert [e.id for e in held_out(other, 0.2)[1]] == [e.id for e in held_out(examples(*MANY), 0.2)[1]]


@pytest.mark.parametrize(("count", "part", "out"), [(3, 3, 3), (2, 0.001, 0), (1, 1, 1)])
def test_nothing_held_out_or_nothing_left_is_refused(count, part, out):
    with pytest.raises(ValueError) as error:
        held_out(examples(*MANY[:count]), part)
    told = f"test: {part:g} holds out {out} of {count} rows; choose another share or number, or add rows"
    assert str(error.value) == told


STORY = "The quick brown fox jumps over the lazy dog while the old grey cat sleeps on the warm mat by the fire. " * 2


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (STORY, STORY.replace("dog", "hound", 1) + "Why?", True),
        (STORY, STORY.upper(), True),
        (STORY, STORY.replace("the", "a"), False),
        ("2 + 2?", "2 * 2?", False),
        ("2 + 2?", "2 +  2?", True),
        ("今天天气很好我们去公园散步吧然后回家吃晚饭看电视", "今天天气很好我们去公园散步吧然后回家吃晚饭看电影", True),
        ("今天天气很好", "明天我们去公园", False),
    ],
)
def test_nearly_equal_prompts_are_found(one, other, alike):
    assert bool(near(examples(one), examples(other))) is alike


def test_near_duplicates_are_those_of_a_slow_comparison():
    texts = [STORY.replace(word, "x") for word in set(STORY.split())] + [STORY[n:] for n in range(0, 120, 7)]
    train, test = examples(*texts), examples(STORY, *MANY[:50])
    slow = [e for e in train if any(_splits._jaccard(_splits._shingles(e), _splits._shingles(t)) >= 0.8 for t in test)]
    found = near(train, test)
    assert set(asked(found)) <= set(asked(slow))
    assert len(found) >= 0.9 * len(slow) > 0
    assert len(slow) < len(train)


@pytest.fixture
def file(tmp_path):
    def written(rows):
        path = tmp_path / "all.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return {"all.jsonl": path}

    return written


def domain(**options):
    return domains.build({"domain": "custom", "train": "all.jsonl", **options})


def test_one_file_gives_both_splits(file, capsys):
    files = file([{"prompt": prompt, "response": "4"} for prompt in MANY[:50]])
    known = domain(test=0.2)
    assert known.data("train") == known.data("test") == ("all.jsonl",)
    train, test = (known.examples(split, None, 0, files) for split in ("train", "test"))
    assert sorted(asked(train) + asked(test)) == sorted(MANY[:50])
    assert {e.id[:5] for e in test} == {"test-"}
    assert f"all.jsonl: {len(test)} of its rows are held out for testing, {len(train)} stay" in capsys.readouterr().out
    assert not apart(test, train)[1]
    assert len(domain(test=7).examples("test", None, 0, files)) == 7


@pytest.mark.parametrize(("supervise", "dropped"), [("last", 0), ("all", 1)])
def test_a_conversation_that_would_teach_a_test_item_s_answer_on_its_way_is_dropped(
    file, tmp_path, capsys, supervise, dropped
):
    turns = [
        {"role": role, "content": text}
        for role, text in zip(["user", "assistant"] * 2, ["a?", "b", "c?", "d"], strict=True)
    ]
    files = file([{"messages": turns}, {"prompt": "else", "response": "4"}])
    files["test.jsonl"] = tmp_path / "test.jsonl"
    files["test.jsonl"].write_text(json.dumps({"messages": turns[:2]}))
    found = domain(test="test.jsonl", supervise=supervise).examples("train", None, 0, files)
    assert len(found) == 2 - dropped
    assert all(example.all_turns == (supervise == "all") for example in found)
    assert ("1 of its rows dropped, since the prompt is in test.jsonl: 1\n" in capsys.readouterr().out) == bool(dropped)


def test_near_duplicates_of_test_items_are_kept_and_told(file, tmp_path, capsys):
    files = file([{"prompt": STORY, "response": "4"}, {"prompt": "else", "response": "4"}])
    files["test.jsonl"] = tmp_path / "test.jsonl"
    files["test.jsonl"].write_text(json.dumps({"prompt": STORY + "Why?", "response": "4"}))
    assert len(domain(test="test.jsonl").examples("train", None, 0, files)) == 2
    told = "all.jsonl: 1 of its rows kept, though the prompt is nearly a test item's; look at them: 1\n"
    assert told in capsys.readouterr().out


def test_a_held_out_row_of_the_scorer_regex_needs_its_pattern(file):
    files = file([{"prompt": prompt, "response": "4"} for prompt in MANY[:9]])
    assert len(domain(test=3, scorer="regex").examples("train", None, 0, files)) == 6
    with pytest.raises(ValueError, match=r"^all.jsonl, row \d+: 'answer' is missing; add what a right response"):
        domain(test=3, scorer="regex").examples("test", None, 0, files)


@pytest.mark.parametrize("test", [0, -1, 1.5, 0.0, "", None])
def test_a_share_or_number_out_of_range_is_refused(test):
    with pytest.raises(ValidationError):
        domain(test=test)
