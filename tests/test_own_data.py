"""Studies of a person's own data, from a small file in each shape and format to tables, by the jobs' own functions."""

import csv
import io
import json
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from test_tables import BENCHMARKS, BETTER, DOMAIN, OUTCOMES, SCORED, entry

from tradeoff import data, study
from tradeoff.evaluation.evaluate import Evaluator
from tradeoff.parquet import write_parquet
from tradeoff.provenance import CARD, canonical_json, read_json
from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.collect import Entry, card_of, collect
from tradeoff.tables.comparisons import comparisons
from tradeoff.tables.recommendation import judge, recommendation
from tradeoff.tables.replicates import replicates
from tradeoff.tables.scores import scores
from tradeoff.tables.tradeoff import tradeoff
from tradeoff.tables.verdicts import Rules
from tradeoff.training import tokens
from tradeoff.training.encode import encode
from tradeoff.training.train import train_run

STUDY = {
    "study": "own",
    "models": {"tiny": {"source": "folder:somewhere"}},
    "methods": {"sft": {"recipe": "sft"}},
    "learning_rates": ["1e-3"],
    "seeds": [0],
    "general": {"arithmetic_mini": {"items": 2, "max_new_tokens": 4}},
    "data": {"train": "all", "test": "all"},
    "training": {"epochs": 1, "batch_size": 4},
    "evaluation": {"items": 2, "batch_tokens": 2048},
}
ASKED = [(f"Which word is number {n}?", f"word {n}") for n in range(12)]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def through_json(spec):
    """A spec as a job is given it."""
    return json.loads(canonical_json(spec))


def jsonl(rows):
    return "\n".join(map(json.dumps, rows)).encode()


def separated(mark):
    def write(rows):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter=mark)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    return write


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


SEVERAL = [user("Hi."), assistant("Hello.")]
# A file's name, how it is written, a row for a question and its answer, and options.
FILES = {
    "prompt and response": ("own.csv", separated(","), lambda q, a: {"prompt": q, "response": a}, {}),
    "prompt and completion": ("own.tsv", separated("\t"), lambda q, a: {"prompt": q, "completion": a, "id": "x"}, {}),
    "messages": (
        "own.jsonl",
        jsonl,
        lambda q, a: {"messages": [user(q), assistant(a)]},
        {"system_prompt": "Be brief."},
    ),
    "several turns": (
        "own.json",
        jsonl,
        lambda q, a: {"messages": [*SEVERAL, user(q), assistant(a)]},
        {"supervise": "all"},
    ),
    "conversations": (
        "own.parquet",
        parquet,
        lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
        {"scorer": "f1"},
    ),
    "alpaca": (
        "own.json",
        lambda rows: json.dumps(rows).encode(),
        lambda q, a: {"instruction": "Answer.", "input": q, "output": a},
        {"scorer": "rouge_l"},
    ),
    "columns": (
        "own.parquet",
        parquet,
        lambda q, a: {"question": q, "gold": a, "n": 3},
        {"columns": {"prompt": "question", "response": "gold"}, "scorer": "chrf"},
    ),
    "a template": (
        "own.csv",
        separated(","),
        lambda q, a: {"question": q, "gold": a},
        {"prompt": "{{ question }} Answer.", "columns": {"response": "gold"}, "scorer": "mine.py:score"},
    ),
    "json": ("own.jsonl", jsonl, lambda q, a: {"prompt": q, "response": json.dumps({"word": a})}, {"scorer": "json"}),
    "code": (
        "own.jsonl",
        jsonl,
        lambda q, a: {"prompt": q, "response": f"def f():\n    return {a!r}", "answer": f"assert f() == {a!r}"},
        {"scorer": "code"},
    ),
}


@pytest.fixture(params=FILES.values(), ids=FILES.keys())
def own(request, tmp_path, monkeypatch):
    """A study of one file, loaded from its YAML."""
    name, write, row, options = request.param
    if options.get("scorer") == "code" and sys.platform != "linux":
        pytest.skip("the sandbox is Linux's")
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(write([row(*pair) for pair in ASKED]))
    (tmp_path / "mine.py").write_text("def score(response, answer):\n    return len(response) % 3 / 2\n")
    domain = {"domain": "custom", "train": name, "test": 3, "max_new_tokens": 4, **options}
    evaluation = {**STUDY["evaluation"], "allow_code_execution": options.get("scorer") == "code"}
    content = {**STUDY, "domains": {"own": domain}, "evaluation": evaluation}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    found = study.load(tmp_path / "study.yaml")
    found.check_files()
    return found


def test_a_study_runs_from_one_small_file_to_its_tables(own, tmp_path, tiny_base):
    for split in ("train", "test"):
        files = {name: str(path) for name, path in own.read_by("own", split).items()}
        data.draw(through_json(own.data_spec("own", split)), data.located(files), tmp_path / f"data/own/{split}.jsonl")
    encoded = tmp_path / "data/own/tiny/tokens.parquet"
    encode(tiny_base, tmp_path / "data/own/train.jsonl", 2048, encoded)
    assert all((s.masked != ()) == (own.domains["own"].supervise == "all") for s in tokens.read(encoded))
    (run,) = own.runs()
    folder, spec = tmp_path / "runs" / run.path, through_json(own.run_spec(run))
    card = tmp_path / "data/own/train.json"
    train_run(spec, "code", tiny_base, card, encoded, None, folder, tmp_path / "checkpoints")
    assert read_json(folder / CARD)["training"]["supervised_tokens"] > 0

    specs = {name: {**through_json(own.benchmark_spec(name)), "code": "c"} for name in own.benchmarks()}
    evaluator = Evaluator(tiny_base, own.evaluation_spec(), specs, tmp_path)
    base = tmp_path / "runs/tiny" / BASE
    write_parquet(base / "samples.parquet", evaluator.evaluate(None, "base"))
    write_parquet(folder / "samples.parquet", evaluator.evaluate(folder, "run"))

    names = tuple(own.benchmarks())
    entries = [
        Entry(base, "tiny", None, BASE, None, None, None, names, tiny_base),
        Entry(folder, "tiny", "own", "sft", run.rate, 0, spec, names, tiny_base),
    ]
    made = card_of(entries[1])
    updates = {made["run_id"]: {**made["update"], **made["training"], **made["cost"]}}
    samples = collect(entries, own.benchmarks())[schemas.SAMPLES.names]
    studied = list(replicates(samples, own.benchmarks(), {"own": own.scored("own")}))
    tables = {
        "scores": (scores(samples), schemas.SCORES),
        "tradeoff": (tradeoff(studied, updates), schemas.tradeoff(list(own.general))),
        "comparisons": (comparisons(studied), schemas.COMPARISONS),
        "recommendation": (recommendation(judge(studied, Rules(0.05, False), updates)), schemas.RECOMMENDATION),
    }
    for name, (table, schema) in tables.items():
        schemas.write(tmp_path / f"{name}.parquet", table, schema)
    metrics = [metric.name for metric in own.domains["own"].metrics]
    found = tables["scores"][0].query("benchmark == 'own'")
    assert set(found["metric"]) == {*metrics, "code_length"}
    assert found[found["metric"].isin(metrics)]["value"].between(0, 1).all()
    assert (found["n"] == 3).all()
    of_domain = tables["tradeoff"][0]["domain_score"].astype(float).tolist()
    first = found[found["metric"] == metrics[0]]
    assert of_domain == pytest.approx(first["value"].tolist())


def test_a_graded_score_is_compared_as_an_accuracy_is(tmp_path, tiny_base):
    """Half a point on every item is half a point in the table, with no test of right against wrong."""
    before, after = ({**of, DOMAIN: values} for of, values in ((OUTCOMES, [0.25] * 4), (BETTER, [0.75] * 4)))
    found = collect([entry(tmp_path, outcomes=before), entry(tmp_path, "sft", "1e-06", 0, after)], BENCHMARKS)
    studied = list(replicates(found[schemas.SAMPLES.names], BENCHMARKS, SCORED))
    row = comparisons(studied).query("benchmark == @DOMAIN").iloc[0]
    assert row["difference"] == pytest.approx(0.5)
    assert (row["better"], row["worse"]) == (4, 0)
    assert pd.isna(row["p_value"])
