"""Items of general benchmarks that occur in training data are counted and listed; others are not."""

import pandas as pd
import pytest

from tradeoff.domains import Example
from tradeoff.tables import schemas
from tradeoff.tables.leakage import leakage, told

LONG = "A farmer has twelve brown hens and three white geese, and sells five of them: how many are left on the farm?"
SHORT = "Name the river that runs through the old city of Rome."


def example(number, question, response="An answer."):
    return Example(f"train-{number:05}", ({"role": "user", "content": question},), response, {})


def found(question, *examples):
    items = pd.DataFrame([{"benchmark": "b", "item": "b-00000", "question": question}])
    (row,) = leakage(items, {"d": examples}).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("question", "text", "leaks"),
    [
        (LONG, LONG, True),
        (LONG, f"Solve this! {LONG.upper().replace(',', ' -')}", True),
        (LONG, "A farmer has twelve brown hens and three white geese and sells five more.", True),  # 13 words
        (LONG, "A farmer has twelve brown hens and three white geese and sells six of them.", False),  # 12
        (LONG, "How many are left on the farm?", False),
        (LONG, " ".join(reversed(LONG.split())), False),
        (SHORT, f"Think first. {SHORT}", True),
        (SHORT, "Name the river that runs through the old city of Paris.", False),
    ],
)
def test_an_item_occurs_where_thirteen_words_or_all_of_a_shorter_question_are_shared(question, text, leaks):
    for examples in ([example(0, "Nothing."), example(1, text)], [example(0, "Nothing."), example(1, "Q", text)]):
        row = found(question, *examples)
        assert row["compared"]
        assert row["example"] == ("train-00001" if leaks else None)
        assert (row["words"] is not None) == leaks
    assert len((found(LONG, example(1, LONG))["words"]).split()) == 13


def test_a_question_of_few_words_is_not_compared():
    row = found("What is two and two?", example(0, "What is two and two?"))
    assert (row["compared"], row["example"]) == (False, None)


def test_every_domain_and_benchmark_is_counted_and_domains_items_are_left_out(tmp_path):
    items = pd.DataFrame(
        [
            {"benchmark": "b", "item": "b-0", "question": LONG},
            {"benchmark": "b", "item": "b-1", "question": SHORT},
            {"benchmark": "c", "item": "c-0", "question": SHORT},
            {"benchmark": "own", "item": "test-0", "question": None},
        ]
    )
    table = leakage(items, {"d": [example(0, LONG)], "e": [example(0, SHORT), example(1, SHORT)]})
    schemas.write(tmp_path / "leakage.parquet", table, schemas.LEAKAGE)
    assert len(table) == 2 * 3
    assert table.dropna()[["domain", "benchmark", "item"]].to_numpy().tolist() == [
        ["d", "b", "b-0"],
        ["e", "b", "b-1"],
        ["e", "c", "c-0"],
    ]
    assert [line.split(" items")[0] for line in told(table)] == ["b: 1 of 2", "b: 1 of 2", "c: 1 of 1"]
