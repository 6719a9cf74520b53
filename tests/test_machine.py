"""Jobs that run side by side on one workstation get a GPU each."""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
import torch

from tradeoff import machine

CHILD = """
import os, sys
from pathlib import Path
from tradeoff import machine
machine.LOCKS = Path(sys.argv[1])
machine.take()
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@contextmanager
def job(locks, **environment):
    """A process that takes what it gets and holds it until its input ends."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "SLURM_JOB_ID")}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(locks)],
        env={**kept, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.communicate()


def given(child):
    return child.stdout.readline().strip()


def test_each_job_has_a_gpu_of_its_own_and_the_next_one_waits(tmp_path):
    visible = {"CUDA_VISIBLE_DEVICES": "3,5"}
    with job(tmp_path, **visible) as one, job(tmp_path, **visible) as two:
        found = {given(one): one, given(two): two}
        assert set(found) == {"3", "5"}
        with job(tmp_path, **visible) as three:
            assert given(three) == "waits for a GPU that other jobs hold"
            found["5"].kill()
            found["5"].wait()
            assert given(three) == "5"


def test_a_gpu_may_be_shared_by_as_many_jobs_as_a_user_says(tmp_path):
    shared = {"CUDA_VISIBLE_DEVICES": "0,1", "JOBS_PER_GPU": "2"}
    with ExitStack() as jobs:
        children = [jobs.enter_context(job(tmp_path, **shared)) for _ in range(4)]
        assert sorted(given(child) for child in children) == ["0", "0", "1", "1"]


@pytest.mark.parametrize("told", [{"LOCAL_RANK": "0"}, {"SLURM_JOB_ID": "7"}])
def test_what_a_launcher_or_a_cluster_gave_is_left_alone(tmp_path, told):
    with (
        job(tmp_path, CUDA_VISIBLE_DEVICES="0,1", **told) as one,
        job(tmp_path, CUDA_VISIBLE_DEVICES="0,1", **told) as two,
    ):
        assert given(one) == given(two) == "0,1"


@pytest.mark.parametrize("environment", [{}, {"CUDA_VISIBLE_DEVICES": ""}])
def test_gpus_that_are_hidden_stay_so(tmp_path, environment):
    with job(tmp_path, **environment) as child:
        gpus = torch.cuda.device_count() and not environment
        assert given(child) == ("0" if gpus else environment.get("CUDA_VISIBLE_DEVICES", "None"))


def test_threads_are_the_rule_s(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.take()
    assert torch.get_num_threads() == 1
