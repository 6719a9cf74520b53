"""The smoke study as jobs of a real SLURM, one of them cancelled half-way and one told to stop; `make slurm` runs this.

`tests/slurm/cluster.sh` starts a SLURM of one node; SLURM_CONF tells where it is. The profile is the one for users.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from outcome import tables
from test_smoke import Tree, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="no SLURM here: tests/slurm/cluster.sh starts one"),
]

SLURM = [
    "--workflow-profile",
    "profiles/slurm",
    "--latency-wait",
    "10",
    "--slurm-init-seconds-before-status-checks",
    "2",
]
PATIENCE = 7200  # seconds
LONG = 400  # epochs, so that a training is met while it runs


def small(folder: Path, base: Path, rates: list[str]) -> Tree:
    """A tree with a study of few and long trainings."""
    tree = Tree(folder, base)
    tree.patience = PATIENCE
    study = yaml.safe_load(tree.study.read_text())
    study["methods"] = {name: study["methods"][name] for name in ("sft", "average")}
    study |= {"general": ["arithmetic_mini", "base_text"], "learning_rates": rates, "trajectory": []}
    study["training"]["epochs"] = LONG
    tree.study.write_text(yaml.safe_dump(study))
    return tree


def command(tree: Tree, *arguments: str, during: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Runs Snakemake in the tree, and meanwhile something else; returns its exit status and output."""
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", "smoke.yaml", *arguments]
    with (tree.folder / "told.txt").open("w+") as told:
        running = subprocess.Popen(snakemake, cwd=tree.folder, env=environment(), stdout=told, stderr=subprocess.STDOUT)
        try:
            during()
            running.wait(PATIENCE)
        finally:
            running.terminate()
        told.seek(0)
        return running.returncode, told.read()


def job_of(tree: Tree, method: str, rate: str) -> str:
    """The SLURM job that trains a run, once it is in the middle of it."""
    run = f"tiny/shop_mini/{method}/lr={rate}/seed=0"
    log = tree.results / "logs" / "train" / f"{run}.log"
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if log.is_file() and re.search(r"nll", log.read_text()):
            for line in slurm("squeue", "--noheader", "--states=RUNNING", "--format=%A|%i|%k"):
                number, job, comment = line.split("|")
                if "train" in comment and run in _command_of(number):
                    return job
        told = (tree.folder / "told.txt").read_text()
        assert "Exiting because" not in told, told[-3000:]
        time.sleep(0.2)
    raise AssertionError(f"{run} was never met in training")


def _command_of(number: str) -> str:
    """The command lines of the processes of a SLURM job."""
    found = ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURM_JOB_ID={number}\0" in (process / "environ").read_text(errors="replace"):
                found += (process / "cmdline").read_text(errors="replace")
        except OSError:  # it ended
            continue
    return found


def slurm(*arguments: str) -> list[str]:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()


RATES = ["1e-3", "1e-4"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, bytes]:
    """The tables of a run on this machine, without SLURM."""
    tree = small(tmp_path_factory.mktemp("local"), tiny_base, RATES)
    tree.snakemake()
    return tables(tree.results)


def test_the_same_command_finishes_what_a_cancelled_job_left(
    undisturbed: dict[str, bytes], tmp_path: Path, tiny_base: Path
) -> None:
    tree = small(tmp_path, tiny_base, RATES)
    cancelled = lambda: slurm("scancel", job_of(tree, "sft", "1e-04"))  # noqa: E731
    status, told = command(tree, *SLURM, "--retries", "0", during=cancelled)
    assert status == 1, told[-3000:]
    assert "CANCELLED" in told
    assert not (tree.results / "tables").exists()
    status, told = command(tree, *SLURM, "--retries", "0")
    assert status == 0, told[-3000:]
    assert tables(tree.results) == undisturbed
    status, told = command(tree, *SLURM)
    assert "Nothing to be done" in told


def test_a_training_that_is_told_to_stop_goes_on_by_itself(
    undisturbed: dict[str, bytes], tmp_path: Path, tiny_base: Path
) -> None:
    """As `--signal=TERM@120` tells it before the time limit: to the job's steps."""
    tree = small(tmp_path, tiny_base, RATES)
    told_to_stop = lambda: slurm("scancel", "--signal=TERM", job_of(tree, "sft", "1e-04"))  # noqa: E731
    status, told = command(tree, *SLURM, "--retries", "1", during=told_to_stop)
    assert status == 0, told[-3000:]
    log = tree.results / "logs/train/tiny/shop_mini/sft/lr=1e-04/seed=0.log"
    assert "going on from step" in log.read_text()
    assert tables(tree.results) == undisturbed
