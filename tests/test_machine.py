"""Jobs that run side by side on one workstation get a GPU each."""

import os
import subprocess
import sys

import pytest
import torch

from tradeoff import machine

CHILD = """
import os, sys, time
from pathlib import Path
from tradeoff import machine
machine.GPUS, machine.LOCKS = Path(sys.argv[1]), Path(sys.argv[2])
machine.take()
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folders(tmp_path):
    for name in ("gpus/0000:01:00.0", "gpus/0000:02:00.0", "locks"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "gpus", tmp_path / "locks"


def job(folders, **environment):
    """A process that takes what it gets and holds it until its input ends."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK")}
    command = [sys.executable, "-c", CHILD, *map(str, folders)]
    return subprocess.Popen(
        command, env={**kept, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_each_job_has_a_gpu_of_its_own_and_gives_it_back(folders):
    one, two = job(folders), job(folders)
    assert sorted(child.stdout.readline().strip() for child in (one, two)) == ["0", "1"]
    one.kill()
    one.wait()
    three = job(folders)
    assert three.stdout.readline().strip() in ("0", "1")
    for child in (two, three):
        child.communicate()


def test_gpus_that_a_scheduler_gave_are_the_ones_to_choose_from(folders, monkeypatch):
    monkeypatch.setattr(machine, "GPUS", folders[0])
    monkeypatch.setattr(machine, "LOCKS", folders[1])
    monkeypatch.setattr(machine, "_held", [])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.take()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    machine.take()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_without_a_gpu_nothing_is_hidden_and_threads_are_the_rules(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "GPUS", tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.take()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert torch.get_num_threads() == 1


def test_a_process_of_several_keeps_what_it_was_given(folders, monkeypatch):
    monkeypatch.setattr(machine, "GPUS", folders[0])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    machine.take()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
