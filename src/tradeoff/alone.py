"""Runs Snakemake alone in a folder, and goes on where a run before was killed: `make study` is this.

Snakemake locks its folder and, killed, leaves the lock behind; nothing in it tells whether its owner lives. So this
command holds a lock of its own, which the system frees when its last holder dies: Snakemake holds it too. Whoever gets
it while the file says that a run has begun knows that this run is dead, and takes Snakemake's lock away.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from tradeoff.errors import UserError, command

LOCK = Path(".snakemake") / "alone.lock"
BEGUN = b"begun"


def run(snakemake: list[str], lock: Path = LOCK) -> int:
    """Runs Snakemake and returns its exit status.

    Args:
        snakemake: Command line.
        lock: File by which runs find out about each other.

    Raises:
        UserError: another run is going on in this folder.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(lock, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{lock}: another run is going on in this folder; wait for it, or stop it") from None
        if file.read() == BEGUN:
            print("the run before was killed; going on", flush=True)
            subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=False, capture_output=True)
        _write(file.fileno(), BEGUN)
        status = _waited_for(subprocess.Popen(snakemake, pass_fds=[file.fileno()]))
        _write(file.fileno(), b"")
    return status


def _waited_for(running: subprocess.Popen[bytes]) -> int:
    """Passes SIGTERM on; of an interrupt from the keyboard Snakemake knows itself."""
    signal.signal(signal.SIGTERM, lambda *_: running.terminate())
    while True:
        try:
            return running.wait()
        except KeyboardInterrupt:
            continue


def _write(file: int, content: bytes) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, content, 0)


def main() -> None:
    """`python -m tradeoff.alone snakemake ...`."""
    status = run(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    command(main)
