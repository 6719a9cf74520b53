"""Data sets of the hub, with a stand-in for the library's loader: what is fetched, drawn and said when it cannot be."""

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets.exceptions import DatasetNotFoundError
from pydantic import ValidationError

from tradeoff import data, domains, hub, sources
from tradeoff.errors import UserError
from tradeoff.hub import HubTable
from tradeoff.provenance import read_json
from tradeoff.study import Study

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PLACE = f"hub:someone/tickets@{COMMIT}"
LABELLED = Features({"text": Value("string"), "label": ClassLabel(names=["refund", "shipping"])})
COLUMNS = {"prompt": "text", "response": "label"}


def table(split="train", config=None):
    return HubTable("someone/tickets", COMMIT, config, split)


@pytest.fixture
def loader(monkeypatch):
    """Stands in for `load_dataset`: a data set of two splits, or an error."""
    asked, failing = [], []

    def load(repository, config, *, split, revision):
        asked.append((repository, config, split, revision))
        if failing:
            raise failing[0]
        if split not in ("train", "test", "none"):
            raise ValueError(f"Unknown split \"{split}\". Should be one of ['train', 'test', 'none'].")
        count = {"train": 6, "test": 3, "none": 0}[split]
        rows = {"text": [f"{split} {n}" for n in range(count)], "label": [n % 2 for n in range(count)]}
        return Dataset.from_dict(rows, features=LABELLED)

    monkeypatch.setattr(datasets, "load_dataset", load)
    load.asked, load.failing = asked, failing
    return load


def domain(**options):
    return domains.build({"domain": "custom", "train": PLACE, "test": PLACE, "columns": COLUMNS, **options})


def test_both_splits_are_fetched_and_drawn(loader, tmp_path, capsys):
    known = domain(config="all")
    files = {}
    for found in known.hub_tables():
        card = tmp_path / f"{found.name}.json"
        hub.fetch(found, card)
        assert sources.fetched(card) == tmp_path / found.name / f"{found.name}.parquet"
        files[found.name] = str(card)
    assert set(loader.asked) == {("someone/tickets", "all", split, COMMIT) for split in ("train", "test")}
    located = data.located(files)
    assert [len(known.examples(split, None, 0, located)) for split in ("train", "test")] == [6, 3]
    told = "hub:someone/tickets, config all, split train: rows read: 6 as prompt; columns not used: none\n"
    assert told in capsys.readouterr().out
    (first, *_) = sorted(known.examples("train", None, 0, located), key=lambda e: e.id)
    assert first == domains.Example(
        "train-00001", ({"role": "user", "content": "train 0"},), "refund", {"answer": "refund"}
    )
    assert read_json(tmp_path / f"{table('train', 'all').name}.json")["from"] == f"someone/tickets@{COMMIT}:all:train"


def test_test_items_may_be_held_out_of_a_split(loader, tmp_path):
    known = domain(test=2)
    (found,) = known.hub_tables()
    files = {found.name: hub.obtain(found)}
    assert known.data("train") == known.data("test") == (found.name,)
    assert [len(known.examples(split, None, 0, files)) for split in ("train", "test")] == [4, 2]


def test_a_faulty_row_is_told_with_the_data_set_and_its_row(loader):
    known = domain(columns={"prompt": "text", "response": "labels"})
    files = {found.name: hub.obtain(found) for found in known.hub_tables()}
    with pytest.raises(ValueError) as error:
        known.examples("test", None, 0, files)
    assert str(error.value) == (
        "hub:someone/tickets, split test, row 1: has no column 'labels', which columns.response names; "
        "did you mean 'label'? (2 more faulty rows)"
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            DatasetNotFoundError("Dataset 'someone/tickets' is a gated dataset on the Hub. Visit the page."),
            "accept its terms on the hub and log in (hf auth login), or name a file",
        ),
        (
            DatasetNotFoundError("Dataset 'someone/tickets' doesn't exist on the Hub or cannot be accessed."),
            "correct the name or the commit",
        ),
        (ValueError("BuilderConfig 'x' not found. Available: ['a', 'b']"), "name one of them as config"),
        (ValueError("Config name is missing.\nPlease pick one among ['a', 'b']"), "name one of them as config"),
        (
            RuntimeError("Dataset scripts are no longer supported, but found tickets.py"),
            "name a file that its script makes",
        ),
        (ConnectionError("Couldn't reach 'someone/tickets' on the Hub (ConnectError)"), "give this machine a network"),
    ],
)
def test_a_data_set_that_cannot_be_had_is_told_in_one_line(loader, tmp_path, error, told):
    loader.failing.append(error)
    with pytest.raises(UserError) as raised:
        hub.write(table(), tmp_path / "x.parquet")
    line = str(raised.value)
    assert line.startswith("hub:someone/tickets, split train: cannot be had: ")
    assert f"; {told}" in line
    assert "\n" not in line


def test_a_split_that_does_not_exist_or_is_empty_is_told(loader, tmp_path):
    with pytest.raises(UserError, match=r"Unknown split .*'train', 'test'.*; name one of them as split or test_split$"):
        hub.write(table("validation"), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"^hub:someone/tickets, split none: has no rows; name another split$"):
        hub.write(table("none"), tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train": "hub:someone/tickets"},
            "train: a data set is read at one commit; write hub:<owner>/<name>@<40 hex digits>",
        ),
        (
            {"test": "hub:someone/tickets@main"},
            "test: a data set is read at one commit; write hub:<owner>/<name>@<40 hex digits>",
        ),
        ({"split": "test"}, "train and test are one split, test; name another as test_split"),
        ({"test": 0.2, "test_split": "test"}, "test_split: only a data set of the hub has one; remove it"),
        ({"train": "a.csv", "test": "b.csv", "config": "x"}, "config: only a data set of the hub has one; remove it"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ValidationError) as error:
        domain(**options)
    assert error.value.errors()[0]["msg"] == message


def test_a_study_knows_a_data_set_by_its_commit_and_looks_for_no_file():
    asked = Study.model_validate(
        {
            "study": "small",
            "models": {"tiny": {"source": "folder:somewhere"}},
            "domains": {"own": {"domain": "custom", "train": PLACE, "test": PLACE}},
            "methods": {"sft": {"recipe": "sft"}},
            "learning_rates": ["1e-5"],
            "seeds": [0],
            "general": ["ifeval_mini"],
            "data": {"train": 1, "test": "all"},
            "training": {"epochs": 1, "batch_size": 2},
            "evaluation": {"items": 8},
        }
    )
    asked.check_files()
    name = table("test").name
    assert set(asked.hub_tables()) == {table("train").name, name}
    assert asked.read_by("own", "test") == {name: None}
    assert asked.data_spec("own", "test")["files"] == {name: f"someone/tickets@{COMMIT}::test"}
