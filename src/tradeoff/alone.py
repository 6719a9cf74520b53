"""Runs Snakemake alone in a folder, and goes on where a run before was killed: `make study` is this.

Snakemake locks its folder and, killed, leaves the lock behind; nothing in it tells whether its owner lives. So this
command holds a lock of its own, which the system frees when its last holder dies: Snakemake holds it too. Whoever gets
it while the file says that a run has begun knows that this run is dead, and takes Snakemake's lock away, once its jobs
are dead as well: they are in Snakemake's process group, of which the file has the number.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tradeoff.errors import UserError, command

LOCK = Path(".snakemake") / "alone.lock"
BEGUN = "begun"


def run(snakemake: list[str], lock: Path = LOCK) -> int:
    """Runs Snakemake and returns its exit status.

    Args:
        snakemake: Command line.
        lock: File by which runs find out about each other.

    Raises:
        UserError: another run is going on in this folder, or jobs of one that was killed.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(lock, os.O_RDWR | os.O_CREAT, 0o644), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{lock}: another run is going on in this folder; wait for it, or stop it") from None
        begun, _, group = file.read().partition(" ")
        if begun == BEGUN:
            if group and _alive(int(group)):
                told = (
                    f"jobs of a run that was killed are still going on; wait for them, or stop them: kill -- -{group}"
                )
                raise UserError(f"{lock}: {told}")
            print("the run before was killed; going on", flush=True)
            subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=False, capture_output=True)
        running = subprocess.Popen(snakemake, pass_fds=[file.fileno()], process_group=0)
        _write(file.fileno(), f"{BEGUN} {running.pid}")
        status = _waited_for(running)
        if status >= 0:
            _write(file.fileno(), "")
    return status


def _waited_for(running: subprocess.Popen[bytes]) -> int:
    """Passes on what a terminal or a scheduler tells. If Snakemake is killed, its jobs are told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: running.terminate())
    signal.signal(signal.SIGHUP, lambda number, _: os.killpg(running.pid, number))
    while True:
        try:
            status = running.wait()
            break
        except KeyboardInterrupt:
            os.killpg(running.pid, signal.SIGINT)
    if status < 0 and _alive(running.pid):
        print("Snakemake was killed; its jobs are told to stop", file=sys.stderr, flush=True)
        os.killpg(running.pid, signal.SIGTERM)
        while _alive(running.pid):
            time.sleep(0.2)
    return status


def _alive(group: int) -> bool:
    """Whether a process of the group lives; one that is dead and that nobody has asked after does not."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    states = [_state(file) for file in Path("/proc").glob("[0-9]*/stat")]  # none on a system without them
    return not states or any(of == group and state not in "ZX" for state, of in states)


def _state(stat: Path) -> tuple[str, int]:
    """A process's state and group, which come after its name in brackets."""
    try:
        state, _, group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):  # it ended
        return "X", 0
    return state, int(group)


def _write(file: int, content: str) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, content.encode(), 0)


def main() -> None:
    """`python -m tradeoff.alone snakemake ...`."""
    status = run(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    command(main)
