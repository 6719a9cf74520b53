"""A small run of each benchmark: what it prints is there and makes sense. Speeds of so small a model say nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
STEPS, STEADY = 4, 2
SMALL = {"BENCH_STEPS": str(STEPS), "BENCH_ROUNDS": "1", "BENCH_ITEMS": "2", "BENCH_SEEDS": "1"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Runs a benchmark small, in one folder for all of them; returns the JSON that it left and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    tiny.model(pad_id=tiny.END_ID).save_pretrained(folder / "source")
    tiny.tokenizer().save_pretrained(folder / "source")
    environment = {
        **os.environ,
        **SMALL,
        "BENCH_OUTPUT": str(folder),
        "BENCH_SOURCE": f"folder:{folder / 'source'}",
        "PYTHONPATH": f"{ROOT / 'src'}:{BENCHMARKS}",
        "OMP_NUM_THREADS": "1",
    }

    def run(name, *arguments, leaves=None):
        done = subprocess.run(
            [sys.executable, BENCHMARKS / f"{name}.py", *arguments], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        file = folder / f"{leaves or name}.json"
        return json.loads(file.read_text()) if file.is_file() else None, done.stdout

    return run


@pytest.mark.slow
def test_one_table_shows_all_that_was_measured(measured):
    training, _ = measured("training")
    for kind in ("worked", "label"):
        for method, figures in training[kind].items():
            assert figures["steady_steps"] == STEADY, method
            assert figures["tokens"] > STEPS * 10
            assert 0 < figures["share_of_matrix_peak"] < 1
            assert figures["peak_memory_bytes"] > 2**27
            assert figures["time_against_sft"] > 0
        assert training[kind]["sft"]["time_against_sft"] == 1
    assert training["worked"]["sft"]["supervised_share"] > training["label"]["sft"]["supervised_share"]

    against, _ = measured("against_trl")
    for kind in ("worked", "label"):
        ours, trl = against[kind]["ours"], against[kind]["trl"]
        assert ours["precision"] == trl["precision"]
        assert ours["steady_steps"] == trl["steady_steps"] == STEADY
        assert ours["tokens"] <= trl["tokens"] <= 1.1 * ours["tokens"]
        assert against[kind]["ratio_tokens_per_s"] == pytest.approx(ours["tokens_per_s"] / trl["tokens_per_s"])

    evaluation, _ = measured("evaluation")
    for part in ("answers", "choices"):
        assert evaluation[part]["items"] in (4, 8)
        assert evaluation[part]["ratio_items_per_processor_s"] > 0

    planning, _ = measured("planning")
    assert planning["runs"] == 100
    assert 0 < planning["nothing_to_do_seconds"] < 60

    _, table = measured("table")
    machine, header, *rows = [line for line in table.splitlines() if line]
    assert training["machine"]["processor"] in machine
    assert f"ours in {ours['precision']}, TRL in {trl['precision']}" in machine
    assert header == "| | worked answers | labels alone |"
    assert {line.count("|") for line in rows} == {4}
    assert f"{against['label']['ratio_peak_memory_bytes']:.2f} |" in table


@pytest.mark.slow
def test_a_profile_shares_out_the_whole_step(measured):
    found, printed = measured("profile_step", "label", "sft", leaves="profile_label_sft")
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert {"products of layers", "products of the head", "attention", "optimizer"} <= found["shares"].keys()
    assert json.loads(printed).keys() == found["shares"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["on_gpu", "head_on_gpu"])
def test_without_a_gpu_a_benchmark_for_one_says_so_in_a_line(measured, name):
    _, printed = measured(name)
    assert printed == f"{name}.py: needs a GPU, and there is none here; nothing was measured\n"
