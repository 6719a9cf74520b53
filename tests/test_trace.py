"""Trace: from a number back to what made it, and what is no longer as it was."""

import subprocess
import sys

import pytest

from tradeoff import machine, trace
from tradeoff.errors import UserError
from tradeoff.provenance import (
    CARD,
    PROVENANCE,
    base_run_id,
    code_digest,
    lock_sha256,
    read_json,
    sha256_file,
    write_json,
)
from tradeoff.tables.collect import Entry, check_one_lock

COMMIT = "c" * 40
SFT = {"recipe": "sft"}


@pytest.fixture
def results(tmp_path):
    """The files of a study with one trained and one derived run, as its jobs write them."""
    root = tmp_path / "results" / "small"
    source = {"source": "hub:owner/name", "revision": COMMIT, "source_sha256": COMMIT}
    write_json(root / "models/tiny" / CARD, {**source, "sha256": "b" * 64})
    write_json(root / "data/shop/train.json", {"examples": 3, "sha256": "d" * 64})
    run = root / "runs/tiny/shop/sft/lr=1e-05/seed=0"
    run.mkdir(parents=True)
    (run / "delta.safetensors").write_bytes(b"delta")
    spec = {"method": SFT, "learning_rate": "1e-05", "seed": 0, "training": {"epochs": 1}, "data": {"count": 3}}
    made = {"spec": spec, "base_sha256": "b" * 64, "data_sha256": "d" * 64, "lock": lock_sha256()}
    code = code_digest(["tradeoff.training.train", "tradeoff.methods.sft"])
    delta = sha256_file(run / "delta.safetensors")
    write_json(run / CARD, {**made, "run_id": "1" * 16, "code": code, "delta_sha256": delta})
    machine.record(run)
    derived = root / "runs/tiny/shop/half/lr=1e-05/seed=0"
    average = {**spec, "method": {"recipe": "average"}, "source": spec}
    card = {
        **made,
        "spec": average,
        "run_id": "2" * 16,
        "code": "other",
        "derived_from": "../../../sft/lr=1e-05/seed=0",
    }
    write_json(derived / CARD, card)
    return root


def told(results, *words):
    return "\n".join(trace.trace(results, list(words)))


@pytest.mark.parametrize("words", [("1" * 16,), ("sft",), ("sft", "lr=0.00001", "seed=0"), ("tiny", "shop", "sft")])
def test_an_id_or_a_row_leads_to_all_that_made_the_run(results, words):
    text = told(results, *words)
    assert text.startswith(f"run {'1' * 16}: {results}/runs/tiny/shop/sft/lr=1e-05/seed=0\n")
    assert f"source    hub:owner/name at {COMMIT}" in text
    assert f"data      sha256 {'d' * 64}, as {results}/data/shop/train.json" in text
    assert f"lock      {lock_sha256()}, as envs/lock.txt" in text
    assert ", as the code of this tree" in text
    assert ", as the file beside it" in text
    assert f"command   {'python'}" in text
    assert "machine   host " in text
    assert "run 2" not in text


def test_a_derived_run_leads_to_its_source(results):
    text = told(results, "half")
    assert "code      other, and the code of this tree is another" in text
    assert f"derived from\nrun {'1' * 16}: {results}/runs/tiny/shop/sft/lr=1e-05/seed=0" in text
    assert f"machine   not known: there is no {PROVENANCE}" in text


def test_a_row_that_is_a_mean_leads_to_all_its_runs(results):
    assert told(results, "lr=1e-5").count("\nrun ") + 1 == 3  # the source of the derived one too


def test_the_base_is_traced_by_its_name_in_the_tables(results):
    run_id = base_run_id("tiny", "b" * 64)
    assert told(results, "base").startswith(f"base {run_id}\n  source    hub:owner/name at {COMMIT}")
    assert told(results, run_id) == told(results, "base")


def test_what_was_changed_since_is_said(results):
    (results / "runs/tiny/shop/sft/lr=1e-05/seed=0/delta.safetensors").write_bytes(b"other")
    write_json(results / "data/shop/train.json", {"sha256": "e" * 64})
    text = told(results, "sft")
    assert "and the file beside it is another" in text
    assert f"train.json is another: {'e' * 64}" in text


@pytest.mark.parametrize("words", [("3" * 16,), ("sft", "lr=2e-5"), ("stf",)])
def test_what_is_not_there_is_one_line(results, words):
    with pytest.raises(UserError, match=r"\A[^\n]*no run is [^\n]*; name an id or such words\Z"):
        told(results, *words)
    with pytest.raises(UserError, match="write a number such as 2e-5"):
        told(results, "lr=fast")


def test_nothing_of_the_machine_is_in_a_card_and_no_secret_in_what_is_recorded(results, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run = results / "runs/tiny/shop/sft/lr=1e-05/seed=0"
    machine.record(run)
    assert "hf_secret" not in (run / PROVENANCE).read_text()
    assert not {"machine", "host", "finished", "command"} & set(read_json(run / CARD))


def test_runs_of_two_locks_are_in_no_table_unless_the_study_says_so(results, capsys):
    def entry(method):
        folder = results / f"runs/tiny/shop/{method}/lr=1e-05/seed=0"
        spec = read_json(folder / CARD)["spec"]
        return Entry(folder, "tiny", "shop", method, "1e-05", 0, spec, (), results / "models/tiny")

    entries = [entry("sft"), entry("half")]
    check_one_lock(entries, allowed=False)
    other = entries[1].folder / CARD
    write_json(other, {**read_json(other), "lock": "f" * 64})
    with pytest.raises(UserError, match=r"under the lock .*; delete .*, or say allow_mixed: \[lock\] in the study\Z"):
        check_one_lock(entries, allowed=False)
    check_one_lock(entries, allowed=True)
    assert capsys.readouterr().out.endswith("; the study allows it\n")


def test_the_command_line(results):
    asked = [sys.executable, "-m", "tradeoff.trace", str(results), "sft lr=1e-5 seed=0"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run 1111")
