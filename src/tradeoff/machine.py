"""What a job takes of the machine: the threads that its rule has, and a GPU that no other job uses."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import torch

GPUS = Path("/proc/driver/nvidia/gpus")
LOCKS = Path(tempfile.gettempdir())
_held: list[object] = []  # open files, whose locks last as long as the process


def take() -> None:
    """Called once, before anything is computed.

    Sums differ in their last bits with the number of threads, so the rule decides it. Snakemake counts GPUs and gives
    none: the first that no other job has locked becomes the only one that this job sees. A job of several processes is
    given its GPUs by whoever started it.
    """
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    if "LOCAL_RANK" not in os.environ and (gpu := _free_gpu()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _free_gpu() -> str | None:
    """A visible GPU that is not locked, and now is; None where there is none, or all are."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    for gpu in visible.split(",") if visible else map(str, range(count)):
        file = (LOCKS / f"tradeoff-{os.getuid()}-gpu-{gpu}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held.append(file)
        return gpu
    return None
