"""Runs a program that a model wrote against a problem's tests, where it can do no harm and cannot vouch for itself.

Every trial is two processes. The *solver* runs the program and answers calls of its function; the *tests* process runs
the problem's tests, in which the function is a stand-in that asks the solver. They exchange plain data alone, and only
the tests process can reach the pipe on which the verdict comes: whatever the program does to its own process, it can
but answer calls wrongly or not at all. Both are confined as `_sandbox_child` says, in a process group of their own that
is killed in the end, and the solver works in an empty folder that is removed.

A program can import the standard library only. It may read what the user may read; nothing that it reads leaves it but
through the answers that its tests compare.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from subprocess import Popen
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, Literal, NamedTuple

from tradeoff.errors import UserError
from tradeoff.evaluation import _sandbox_child

Outcome = Literal["passed", "failed", "timeout", "out_of_memory"]

# Seconds in which a process that has closed its pipe should be gone, unless it only closed the pipe.
GRACE = 1.0
# Sets and dictionaries are in the same order in every run. The child clears its environment, so it is not seen.
ENVIRONMENT = {"PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class Limits:
    """What a trial may take; each of its two processes has the limits for itself.

    Attributes:
        cpu_seconds: Processor time, which a busy machine does not use up. Most right solutions take milliseconds.
        wall_seconds: Time on the clock, of each try in turn, several times the processor time. When it is over first,
            the program waits for something, or the machine is busy: hence the next try, with nothing beside it.
        memory_bytes: Address space.
        output_bytes: What it prints; more is an error in the program.
        message_bytes: A call's arguments, or its result.
    """

    cpu_seconds: int = 10
    wall_seconds: tuple[float, ...] = (30.0, 120.0)
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 20
    message_bytes: int = 1 << 20


class Problem(NamedTuple):
    """What a program is to solve.

    Attributes:
        prompt: Source that ends in the head and docstring of the function; tests may call what it defines before.
        entry_point: The function's name.
        test: Source that defines `check(candidate)`, which raises on a wrong candidate.
    """

    prompt: str
    entry_point: str
    test: str


class Verdict(NamedTuple):
    """How a trial ended; `detail` says in a line what was wrong, as far as it is known."""

    outcome: Outcome
    detail: str = ""


def run(program: str, problem: Problem, limits: Limits | None = None) -> Verdict:
    """Runs a program's function through the problem's tests; it passes if they are known to have run to their end.

    Raises:
        UserError: this machine cannot confine a process; nothing of the program has run.
    """
    if sys.platform != "linux" or os.uname().machine not in _sandbox_child.MACHINES:
        raise _unconfined(f"it is {sys.platform} on {os.uname().machine}")
    limits = limits or Limits()
    for seconds in limits.wall_seconds:
        verdict = _trial(program, problem, limits, seconds)
        if verdict is not None:
            return verdict
    return Verdict("timeout", "the time on the clock was over")


def _trial(program: str, problem: Problem, limits: Limits, seconds: float) -> Verdict | None:
    """One try; None when the time on the clock is over."""
    deadline = time.monotonic() + seconds
    shared = {
        "parent": os.getpid(),
        "entry_point": problem.entry_point,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "output_bytes": limits.output_bytes,
        "message_bytes": limits.message_bytes,
    }
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="tradeoff-"))
        printed = stack.enter_context(TemporaryFile())
        with _pipe() as (called, calls), _pipe() as (answered, answers):
            job = {**shared, "program": program}
            solver = stack.enter_context(_child("solver", job, (called, answers), printed, folder))
            job = {**shared, "prompt": problem.prompt, "test": problem.test}
            tests = stack.enter_context(_child("tests", job, (answered, calls), subprocess.PIPE, folder))
        report = _read(tests, deadline)
        if report is None:
            return None
        start, verdict = [*map(json.loads, report.splitlines()), ["ended"], ["ended"]][:2]
        if start[0] == "refused":
            raise _unconfined(f"the kernel says: {start[1]}")
        if start[0] != "confined":
            _end(solver, GRACE)
            printed.seek(0)
            raise RuntimeError(f"the sandbox did not start: {printed.read(2000).decode(errors='replace')}")
        if verdict[0] in ("passed", "failed"):
            return Verdict(*verdict)
        return _cause(*_end(solver if verdict[0] == "lost" else tests, GRACE), limits)


def _cause(status: int | None, cpu_seconds: float, limits: Limits) -> Verdict:
    """The verdict on a process that went before the tests ended; the status is None if only its pipe was closed."""
    if status == -signal.SIGXCPU or (status == -signal.SIGKILL and cpu_seconds >= limits.cpu_seconds):
        return Verdict("timeout", f"more than {limits.cpu_seconds} s of processor time")
    if status in (_sandbox_child.OUT_OF_MEMORY, -signal.SIGKILL):  # the latter from the kernel, short of memory
        return Verdict("out_of_memory", f"more than {limits.memory_bytes} bytes of memory")
    return Verdict("failed", "closed its pipe" if status is None else f"ended early, with status {status}")


def _unconfined(why: str) -> UserError:
    return UserError(
        "running code that a model wrote needs Linux with seccomp filters on x86_64 or aarch64, and this machine lacks "
        f"them ({why}); evaluate on such a machine, or leave out the benchmarks that run code"
    )


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe, open until the children have theirs."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@contextmanager
def _child(
    role: str, job: dict[str, Any], pipes: tuple[int, int], stdout: int | IO[bytes], folder: str
) -> Iterator[Popen[bytes]]:
    """A child in its own session and process group, which is gone when the context ends.

    It is started without a copy of this process, which may hold a model and threads; it sets its limits itself.
    """
    with TemporaryFile() as stdin:
        stdin.write(json.dumps({**job, "pipes": pipes}).encode())
        stdin.seek(0)
        process = Popen(
            [sys.executable, "-s", "-S", "-P", "-B", _sandbox_child.__file__, role],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT if role == "solver" else subprocess.DEVNULL,
            cwd=folder,
            env=ENVIRONMENT,
            pass_fds=pipes,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            _end(process)
        if process.stdout:
            process.stdout.close()


def _end(process: Popen[bytes], grace: float = 0.0) -> tuple[int | None, float]:
    """Kills a child's process group.

    Returns the status with which it ended by itself within the seconds of grace, or None, and its processor time.
    """
    until = time.monotonic() + grace
    # Looked at without being reaped, so that the group's number cannot be another's yet.
    while not (gone := os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
        if time.monotonic() > until:
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode if gone else None, usage.ru_utime + usage.ru_stime


def _read(process: Popen[bytes], deadline: float) -> bytes | None:
    """What a child writes on stdout until it closes that; None if it has not done so by the deadline."""
    assert process.stdout
    data = b""
    while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            return data
        data += chunk
    return None
