"""One run at a time in a folder, and on after a run that was killed."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tradeoff import alone
from tradeoff.errors import UserError

# In Snakemake's place: notes its arguments, and waits where it is told to.
STAND_IN = """
import sys, time
with open("calls.txt", "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
time.sleep(float(sys.argv[1]) if "--unlock" not in sys.argv else 0)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    return tmp_path


def snakemake(seconds, status=0):
    return [sys.executable, "stand_in.py", str(seconds), str(status)]


def calls(folder):
    return (folder / "calls.txt").read_text().splitlines()


def begin(seconds):
    """A run in a process of its own, once Snakemake's stand-in has begun."""
    running = subprocess.Popen([sys.executable, "-m", "tradeoff.alone", *snakemake(seconds)], start_new_session=True)
    while not os.path.exists("calls.txt"):
        time.sleep(0.05)
    return running


def eventually(command):
    """Runs it once all that were killed are dead."""
    while True:
        try:
            assert alone.run(command) == 0
            return
        except UserError:
            time.sleep(0.05)


def test_snakemake_s_status_is_the_command_s_and_nothing_is_unlocked(folder):
    assert alone.run(snakemake(0, 0)) == 0
    assert alone.run(snakemake(0, 3)) == 3
    assert alone.run(snakemake(0, 0)) == 0
    assert calls(folder) == ["0 0", "0 3", "0 0"]


def test_two_at_once_is_one_line(folder):
    first = begin(60)
    with pytest.raises(UserError, match=r"\A[^\n]*: another run is going on in this folder; wait for it, or stop it\Z"):
        alone.run(snakemake(0))
    first.terminate()
    first.wait(60)
    assert calls(folder) == ["60 0"]
    eventually(snakemake(0))


def child_of(process):
    (child,) = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True).split()
    return int(child)


def test_after_a_kill_of_all_the_next_run_unlocks_and_goes_on(folder, capfd):
    first = begin(60)
    snakemake_s = child_of(first)
    os.kill(first.pid, signal.SIGKILL)
    os.killpg(snakemake_s, signal.SIGKILL)
    first.wait()
    eventually(snakemake(0))
    assert calls(folder) == ["60 0", "0 0 --unlock --quiet all", "0 0"]
    assert "the run before was killed; going on" in capfd.readouterr().out
    assert alone.run(snakemake(0)) == 0
    assert calls(folder)[-2:] == ["0 0", "0 0"]


def test_while_snakemake_lives_its_lock_is_not_taken_away(folder):
    """The command is killed, and Snakemake is not."""
    first = begin(60)
    snakemake_s = child_of(first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with pytest.raises(UserError, match="another run is going on"):
        alone.run(snakemake(0))
    os.kill(snakemake_s, signal.SIGKILL)
    eventually(snakemake(0))
    assert calls(folder)[1:] == ["0 0 --unlock --quiet all", "0 0"]


# In the place of a Snakemake with a job, which holds no lock; both wait.
WITH_A_JOB = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; open('job.txt', 'w').close(); time.sleep(60)"])
while True:
    time.sleep(1)
"""


@pytest.fixture
def with_a_job(folder):
    """A run with a job: its command, and the process group of Snakemake's stand-in and the job."""
    (folder / "with_a_job.py").write_text(WITH_A_JOB)
    command = [sys.executable, "-m", "tradeoff.alone", sys.executable, "with_a_job.py"]
    # As a terminal starts it: a shell lets what it runs in the background ignore the interrupt, these tests too.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    first = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, heard)
    while not (folder / "job.txt").exists():
        time.sleep(0.05)
    group = child_of(first)
    yield first, group
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def test_while_jobs_of_a_killed_run_live_the_next_one_is_refused(folder, with_a_job):
    first, group = with_a_job
    for process in (first.pid, group):
        os.kill(process, signal.SIGKILL)
    first.wait()
    while True:
        with pytest.raises(UserError) as told:
            alone.run(snakemake(0))
        if "another run" not in str(told.value):  # the lock is free once both are dead
            break
    assert re.fullmatch(
        rf"[^\n]*: jobs of a run that was killed are still going on; [^\n]* kill -- -{group}", str(told.value)
    )
    os.killpg(group, signal.SIGTERM)
    eventually(snakemake(0))
    assert calls(folder) == ["0 0 --unlock --quiet all", "0 0"]


def test_if_snakemake_alone_is_killed_its_jobs_are_stopped_and_the_next_run_goes_on(folder, with_a_job):
    first, group = with_a_job
    os.kill(group, signal.SIGKILL)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGKILL
    assert "Snakemake was killed; its jobs are told to stop" in told
    assert alone.run(snakemake(0)) == 0
    assert calls(folder) == ["0 0 --unlock --quiet all", "0 0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_the_terminal_tells_goes_to_all(with_a_job, number):
    first, group = with_a_job
    os.kill(first.pid, number)
    first.communicate(timeout=60)
    assert not alone._alive(group)
