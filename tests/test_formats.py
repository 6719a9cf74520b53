"""Files of a person's own in every format: the same rows, and what is said of a faulty file."""

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeoff import domains
from tradeoff.domains import _formats

ROWS = [{"prompt": "2 + 2?", "response": "4", "note": None}, {"prompt": 'a, "b"\n\tc', "response": "é", "note": "x"}]


def separated(rows, mark):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=mark)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet(rows):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


FORMATS = {
    ".jsonl": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    ".ndjson": lambda rows: "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode(),
    ".json": lambda rows: json.dumps(rows, indent=1).encode(),
    ".csv": lambda rows: separated(rows, ","),
    ".tsv": lambda rows: separated(rows, "\t"),
    ".parquet": parquet,
}


@pytest.fixture
def read(tmp_path):
    def of(content, ending):
        path = tmp_path / f"data{ending}"
        path.write_bytes(content)
        return _formats.read(path.name, path)

    return of


@pytest.mark.parametrize("ending", _formats.ENDINGS)
def test_every_format_gives_the_same_rows(read, ending):
    assert [row.values for row in read(FORMATS[ending](ROWS), ending)] == ROWS


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, max_size=4)
)
def test_any_text_is_the_same_in_every_format(tmp_path_factory, texts):
    rows = [{"prompt": text, "n": "1"} for text in texts]
    for ending, written in FORMATS.items():
        path = tmp_path_factory.getbasetemp() / f"any{ending}"
        path.write_bytes(written(rows))
        assert [row.values for row in _formats.read(path.name, path)] == rows, ending


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".tsv"])
def test_a_byte_order_mark_and_other_line_ends_make_no_difference(read, ending):
    content = FORMATS[ending]([{"prompt": "a", "response": "b"}] * 2)
    for changed in (b"\xef\xbb\xbf" + content, content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"):
        assert [row.values for row in read(changed, ending)] == [{"prompt": "a", "response": "b"}] * 2


def test_json_lines_may_be_called_json(read):
    assert [row.values for row in read(FORMATS[".jsonl"](ROWS), ".json")] == ROWS


def test_numbers_and_nested_values_of_parquet_are_those_of_json(read):
    rows = [{"n": 3, "x": 0.1, "nan": float("nan"), "turns": [{"role": "user", "content": None}], "yes": True}]
    (row,) = read(parquet(rows), ".parquet")
    turns = [{"role": "user", "content": None}]
    assert row.values == {"n": Decimal(3), "x": Decimal("0.1"), "nan": None, "turns": turns, "yes": True}


def test_a_row_s_place_is_the_line_on_which_it_begins(read):
    rows = read(b'a,b\n"two\nlines",x\n\n,\ny,z\n', ".csv")
    assert [(row.place, row.values["a"]) for row in rows] == [("line 2", "two\nlines"), ("line 6", "y")]
    assert [row.place for row in read(b"[{}, {}]", ".json")] == ["row 1", "row 2"]


# A file's ending, its content, and what is said of it.
REFUSED = [
    (
        ".xlsx",
        b"x",
        "has none of the endings .jsonl, .ndjson, .json, .csv, .tsv, .parquet; save it in such a format and name it so",
    ),
    (".csv", b"", 'is empty; write a row such as {"prompt": "2 + 2?", "response": "4"}'),
    (".csv", b"prompt,response\n", 'is empty; write a row such as {"prompt": "2 + 2?", "response": "4"}'),
    (".csv", b"prompt;response\na;b\n", "line 1: no comma and several ';'; save it with a comma between cells"),
    (".tsv", b"prompt,response\na,b\n", "line 1: no tab and several ','; save it with a tab between cells"),
    (".csv", b"prompt,prompt\n", "line 1: the column 'prompt' stands twice; remove one"),
    (".csv", b"prompt,\na,b\n", "line 1: column 2 has no name; write one into the first line"),
    (".csv", b'a,b\n"x"y,z\n', "line 2: cannot be read (',' expected after '\"'); put quotes around the cell"),
    (".csv", b'a,b\n"x', "line 2: cannot be read (unexpected end of data); put quotes around the cell"),
    (".csv", "a,b\nx,é\n".encode("latin-1"), "line 2: byte 3 is not UTF-8; save the file as UTF-8"),
    (".csv", "a,b\n".encode("utf-16"), "is in UTF-16; save the file as UTF-8"),
    (".jsonl", "{}".encode("utf-16"), "is in UTF-16; save the file as UTF-8"),
    (".json", b'[{"a": 1},\n {"a" 2}]', "line 2: not JSON (Expecting ':' delimiter, column 7); mend it"),
    (".json", b"[" * 100_000, "not JSON that can be read (nested too deep); write a list of flat objects"),
    (".json", b"[]", 'is empty; write a row such as {"prompt": "2 + 2?", "response": "4"}'),
    (".parquet", b"PAR1", "cannot be read as Parquet"),
]


@pytest.mark.parametrize(("ending", "content", "message"), REFUSED, ids=lambda part: str(part)[:40])
def test_a_file_that_cannot_be_read_is_told_in_one_line(read, ending, content, message):
    with pytest.raises(ValueError) as error:
        read(content, ending)
    told = str(error.value)
    assert told.startswith(f"data{ending}: {message}")
    assert "\n" not in told
    assert "; " in told


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        (
            ".csv",
            b"prompt,response\na,b\nc\n",
            "line 3: has 1 cells and the head 2; quote a cell that holds a comma or a line break",
        ),
        (
            ".tsv",
            b"prompt\tresponse\na\tb\tc\n",
            "line 2: has 3 cells and the head 2; quote a cell that holds a tab or a line break",
        ),
        (".csv", b"prompt,response\na,b\nc,\n", "line 3: 'response' is empty; write it, or remove the row"),
        (
            ".json",
            b'[{"prompt": "a", "response": "b"}, 3]',
            "row 2: should be an object, got a number; write a list of objects",
        ),
        (".json", b'[{"prompt": "a", "response": null}]', "row 1: 'response' is empty; write it, or remove the row"),
        (
            ".parquet",
            parquet([{"prompt": "a", "response": 4}]),
            "row 1: 'response' should be text, got a number; put it in quotes, or make the column text",
        ),
        (
            ".parquet",
            parquet([{"prompt": "a", "response": b"b"}]),
            "row 1: 'response' should be text, got a bytes; put it in quotes, or make the column text",
        ),
        (
            ".parquet",
            parquet([{"prompt": "a", "response": "b"}, {"prompt": None, "response": "b"}]),
            "row 2: 'prompt' is empty; write it, or remove the row",
        ),
    ],
)
def test_a_faulty_row_is_told_with_file_place_and_column(tmp_path, ending, content, message):
    path = tmp_path / f"test{ending}"
    path.write_bytes(content)
    known = domains.build({"domain": "custom", "train": "train.jsonl", "test": path.name})
    with pytest.raises(ValueError) as error:
        known.examples("test", None, 0, {path.name: path})
    assert str(error.value) == f"{path.name}, {message}"


def test_a_huge_cell_is_read(tmp_path):
    path = tmp_path / "test.csv"
    path.write_bytes(separated([{"prompt": "x" * 2_000_000, "response": "4"}], ","))
    known = domains.build({"domain": "custom", "train": "train.jsonl", "test": path.name})
    (example,) = known.examples("test", None, 0, {path.name: path})
    assert len(example.messages[0]["content"]) == 2_000_000


def test_a_folder_is_all_of_its_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        for name in (".jsonl", ".csv"):
            rows = [{"prompt": f"{folder} {name} {n}", "response": "4"} for n in range(2)]
            (tmp_path / folder / f"part{name}").write_bytes(FORMATS[name](rows))
    (tmp_path / "train" / "README.md").write_text("nothing")
    known = domains.build({"domain": "custom", "train": "train", "test": "test"})
    assert known.data("train") == ("train/part.csv", "train/part.jsonl", "test/part.csv", "test/part.jsonl")
    found = known.examples("train", None, 0, {name: tmp_path / name for name in known.data("train")})
    ids = ["train-part.csv-00002", "train-part.csv-00003", "train-part.jsonl-00001", "train-part.jsonl-00002"]
    assert sorted(example.id for example in found) == ids
    assert "train/part.csv: rows read: 2 as prompt; columns not used: none\n" in capsys.readouterr().out
    assert domains.build({"domain": "custom", "train": "none", "test": "test"}).data("train")[0] == "none"


def test_a_folder_inside_a_folder_is_not_read_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("all", "all/test"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.csv").write_bytes(FORMATS[".csv"]([{"prompt": folder, "response": "4"}]))
    known = domains.build({"domain": "custom", "train": "all", "test": "./all/test/"})
    files = {name: tmp_path / name for name in known.data("train")}
    found = [known.examples(split, None, 0, files) for split in ("train", "test")]
    assert [[e.messages[0]["content"] for e in examples] for examples in found] == [["all"], ["all/test"]]
