"""Data from outside: from a disk or from the hub, whole and the right ones, or one line that says what is wrong."""

import dataclasses
import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from tradeoff import data, domains, sources
from tradeoff.errors import UserError
from tradeoff.provenance import read_json
from tradeoff.sources import Datum, fetch, fetched, local_path, obtain, read_rows, registry

DATUM = Datum("words", "someone/words", "a" * 40, "data/words.parquet", "v2", "words/words.jsonl", "", "v1", "MIT")
ROWS = [{"text": "one, two"}, {"text": 'a "quoted"\nline \u2028 more'}]


@pytest.fixture
def root(tmp_path):
    file = tmp_path / "root" / DATUM.local
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file.parents[1]


def test_every_datum_of_the_project_is_pinned():
    for datum in registry().values():
        assert datum.licence
        assert not datum.hub or re.fullmatch("[0-9a-f]{40}", datum.revision), datum.name
        assert not datum.sha256 or re.fullmatch("[0-9a-f]{64}", datum.sha256), datum.name
        assert datum.hub or not datum.revision


def test_a_local_datum_has_a_card_with_its_hash_and_is_kept_as_it_was(root, tmp_path):
    card = tmp_path / "out" / "words.json"
    fetch(DATUM, str(root), card)
    content = read_json(card)
    assert (content["from"], content["version"], content["file"]) == ("this machine", "v1", "words.jsonl")
    assert str(tmp_path) not in card.read_text()
    assert read_rows(fetched(card)) == ROWS
    fetch(DATUM, str(root), card)
    (root / DATUM.local).write_text("{}")
    assert read_rows(fetched(card)) == ROWS


def test_a_changed_file_is_not_read_under_its_old_card(root, tmp_path):
    card = tmp_path / "words.json"
    fetch(DATUM, str(root), card)
    (tmp_path / "words" / "words.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"changed since words\.json was written; both are set aside"):
        fetched(card)
    assert not card.exists()


def test_a_file_with_another_hash_is_refused(root):
    with pytest.raises(UserError, match=r"words\.jsonl: has the sha256 .* and datasets\.tsv says 0000.* for words"):
        obtain(dataclasses.replace(DATUM, sha256="0" * 64), str(root))


def test_a_missing_file_is_told_with_its_place(root):
    with pytest.raises(UserError, match=r"there is no .*root/other\.csv, which words is read from"):
        local_path(dataclasses.replace(DATUM, local="other.csv"), str(root))


def test_what_is_on_no_hub_asks_for_a_data_root():
    with pytest.raises(
        UserError, match=r"words: is on no hub; give the study a data_root that holds words/words\.jsonl"
    ):
        local_path(dataclasses.replace(DATUM, hub=""), None)


def test_a_package_is_at_hand_with_and_without_a_data_root(tmp_path):
    datum = registry()["humaneval"]
    for data_root in (None, str(tmp_path)):
        rows = read_rows(obtain(datum, data_root))
        assert len(rows) == 164
    with pytest.raises(UserError, match="the package nowhere is not installed"):
        local_path(dataclasses.replace(datum, local="package:nowhere/x.gz"), None)


def test_the_hub_is_asked_for_the_pinned_revision(monkeypatch, tmp_path):
    asked = []
    file = tmp_path / "hub" / "words.parquet"
    file.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), file)

    def download(repo, name, **kwargs):
        asked.append((repo, name, kwargs))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    fetch(DATUM, None, tmp_path / "words.json")
    assert asked == [(DATUM.hub, DATUM.hub_file, {"repo_type": "dataset", "revision": DATUM.revision})]
    assert read_json(tmp_path / "words.json")["from"] == f"{DATUM.hub}@{DATUM.revision}"
    assert read_json(tmp_path / "words.json")["version"] == "v2"
    assert read_rows(fetched(tmp_path / "words.json")) == ROWS


def test_the_hub_without_a_network_is_one_line(monkeypatch, tmp_path):
    def download(*_, **__):
        raise LocalEntryNotFoundError("An error happened.\nPlease check your connection.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as error:
        fetch(DATUM, None, tmp_path / "words.json")
    assert "\n" not in str(error.value)
    assert "words: hub dataset someone/words cannot be had (HF_HUB_OFFLINE is set)" in str(error.value)
    assert "give the study a data_root that holds words/words.jsonl" in str(error.value)
    assert not (tmp_path / "words.json").exists()


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json", "rows.parquet", "rows.jsonl.gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    if name.endswith("csv"):
        path.write_text("text\r\n" + "".join('"{}"\r\n'.format(r["text"].replace('"', '""')) for r in ROWS), newline="")
    elif name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(json.dumps(ROWS) if name.endswith("json") else "\ufeff" + lines)
    assert read_rows(path) == ROWS


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", b"{"), ("a.csv", b'a\n"b'), ("a.parquet", b"PAR1"), ("a.jsonl", b"\xff\xfe"), ("a.jsonl.gz", b"x")],
)
def test_a_broken_file_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read") as error:
        read_rows(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "name\thub\n", "\t".join(f.name for f in dataclasses.fields(Datum)) + "\nx\ty\n"])
def test_a_broken_table_is_told(tmp_path, text):
    (tmp_path / "datasets.tsv").write_text(text)
    with pytest.raises(UserError, match="tabs"):
        sources.registry(tmp_path / "datasets.tsv")


def test_drawn_examples_are_read_as_they_were_written(tmp_path):
    """JSON leaves these line breaks as they are; they end no line of a file of JSON lines."""
    turns = ({"role": "user", "content": "one\u2028two\x85three"},)
    examples = [domains.Example(f"train-{n}", turns, "four\u2029five", {"label": "a"}) for n in range(2)]
    data.write(tmp_path / "train.jsonl", examples, {})
    assert data.read(tmp_path / "train.jsonl") == examples
