"""Jobs that run side by side on one workstation get a GPU each."""

import multiprocessing
import os
import re
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

from tradeoff import machine

ROOT = Path(__file__).parents[1]

FORK = multiprocessing.get_context("fork")  # what is imported here is not imported again


def held(line, locks, gpus, environment):
    """A job that takes what it gets and holds it until it is told to end."""
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "SLURM_JOB_ID"):
        os.environ.pop(name, None)
    os.environ.update(environment)
    torch.cuda.device_count = lambda: gpus
    torch.set_num_threads = lambda count: None
    machine.LOCKS, machine.print = locks, lambda text, flush: line.send(text)
    machine.take()
    line.send(os.environ.get("CUDA_VISIBLE_DEVICES"))
    line.recv()


@contextmanager
def job(locks, gpus=2, **environment):
    """A process beside this one, and the line to it."""
    here, there = FORK.Pipe()
    child = FORK.Process(target=held, args=(there, locks, gpus, environment), daemon=True)
    child.line = here
    child.start()
    try:
        yield child
    finally:
        if child.is_alive():
            here.send("end")
        child.join()


def given(child):
    assert child.line.poll(60)
    return child.line.recv()


def test_each_job_has_a_gpu_of_its_own_and_the_next_one_waits(tmp_path):
    visible = {"CUDA_VISIBLE_DEVICES": "3,5"}
    with job(tmp_path, **visible) as one, job(tmp_path, **visible) as two:
        found = {given(one): one, given(two): two}
        assert set(found) == {"3", "5"}
        with job(tmp_path, **visible) as three:
            assert given(three) == "waits for a GPU that other jobs hold"
            found["5"].kill()
            found["5"].join()
            assert given(three) == "5"


def test_a_gpu_may_be_shared_by_as_many_jobs_as_a_user_says(tmp_path):
    shared = {"CUDA_VISIBLE_DEVICES": "0,1", "JOBS_PER_GPU": "2"}
    with ExitStack() as jobs:
        children = [jobs.enter_context(job(tmp_path, **shared)) for _ in range(4)]
        assert sorted(given(child) for child in children) == ["0", "0", "1", "1"]


def test_what_a_launcher_gave_is_left_alone(tmp_path):
    given_two = {"CUDA_VISIBLE_DEVICES": "0,1", "LOCAL_RANK": "0"}
    with job(tmp_path, **given_two) as one, job(tmp_path, **given_two) as two:
        assert given(one) == given(two) == "0,1"


def test_jobs_in_one_allocation_of_a_cluster_have_a_gpu_each(tmp_path):
    allocation = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "7"}
    with job(tmp_path, **allocation) as one, job(tmp_path, **allocation) as two:
        assert {given(one), given(two)} == {"0", "1"}


def test_allocations_on_one_node_may_give_their_gpus_the_same_number(tmp_path):
    visible = {"CUDA_VISIBLE_DEVICES": "0"}
    with job(tmp_path, SLURM_JOB_ID="7", **visible) as one, job(tmp_path, SLURM_JOB_ID="8", **visible) as two:
        assert given(one) == given(two) == "0"


@pytest.mark.parametrize(
    ("environment", "gpus", "expected"),
    [
        ({}, 2, {"0", "1"}),
        ({}, 0, {None}),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, {""}),
        ({"CUDA_VISIBLE_DEVICES": "0"}, 0, {"0"}),
    ],
)
def test_a_gpu_that_is_hidden_or_not_there_is_not_waited_for(tmp_path, environment, gpus, expected):
    with job(tmp_path, gpus, **environment) as one, job(tmp_path, gpus, **environment) as two:
        assert {given(one), given(two)} == expected


def test_threads_are_the_rule_s(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.take()
    assert torch.get_num_threads() == 1


SMI = """#!/bin/sh
echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'
echo '  MIG 1g.10gb Device 0: (UUID: MIG-1)'
echo 'GPU 1: NVIDIA H100 (UUID: GPU-2)'
"""


@pytest.mark.parametrize(
    ("told", "asked"),
    [(SMI, "gpu=2"), ("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9", None), ("#!/bin/sh\nexit 127", None)],
)
def test_make_starts_as_many_jobs_as_there_are_gpus(tmp_path, told, asked):
    (tmp_path / "nvidia-smi").write_text(told)
    (tmp_path / "nvidia-smi").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["make", "--dry-run", "study"]
    said = subprocess.run(command, cwd=ROOT, env=os.environ | path, check=True, capture_output=True, text=True).stdout
    assert re.findall(r"gpu=\d+", said) == ([asked] if asked else [])
    said = subprocess.run([*command, "JOBS_PER_GPU=3"], cwd=ROOT, env=os.environ | path, capture_output=True, text=True)
    assert ("gpu=6" in said.stdout) == bool(asked)
