"""What a job takes of the machine, the threads that its rule has and a GPU that no other job uses, and which it was."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import re
import shlex
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from tradeoff.provenance import PROVENANCE, write_json

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LOCKS = Path(tempfile.gettempdir())
_held: list[object] = []  # open files, whose locks last as long as the process


def take() -> None:
    """Called once, before anything is computed.

    Sums differ in their last bits with the number of threads, so the rule decides it. Snakemake counts GPUs and gives
    none: on a workstation, and in a cluster's allocation, the first on which there is room becomes the only one that
    this job sees, and where there is none the job waits. A job of several processes is given its GPUs by the launcher.
    """
    _keep_freed_memory()
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    if "LOCAL_RANK" not in os.environ and (gpus := _gpus()):
        told = False
        while (gpu := _free(gpus)) is None:
            if not told:
                print("waits for a GPU that other jobs hold", flush=True)
            told = True
            time.sleep(1)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _keep_freed_memory() -> None:
    """Lets blocks of up to 32 MiB be used again, the most that glibc allows.

    By default they go back to the system and come back page by page, zeroed. This took 7 to 11 % of the processor time
    of SmolLM2-135M's training, likelihoods and answers (one thread of an AMD EPYC beside other work, 2026-11-28).
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def several(count: int) -> None:
    """Starts this command again as `count` processes that train together, unless it is one of them or is to be alone.

    They find each other on a port that is free, so that two such jobs on one machine do not meet.
    """
    if count == 1 or "LOCAL_RANK" in os.environ:
        return
    spec = sys.modules["__main__"].__spec__
    assert spec is not None, "a command is run as python -m"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", spec.name]
    os.execv(sys.executable, [sys.executable, *launch, *sys.argv[1:]])


def energy_joules() -> float | None:
    """What this job's GPU has used since its driver was loaded, where it tells.

    A processor's counter counts the jobs beside this one too, so none is read.
    """
    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid))) / 1000
    except Exception:  # no NVML, or a card without a counter
        return None


def record(folder: Path) -> None:
    """Writes `provenance.json` beside a run's card: command, machine and time.

    No job takes it as an input and nothing is hashed from it, so that the same run on another machine is the same run.
    """
    spec = sys.modules["__main__"].__spec__
    command = ["python", *(["-m", spec.name] if spec else sys.argv[:1]), *sys.argv[1:]]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine = {"host": platform.node(), "system": platform.platform(), "processor": processor(), "gpu": gpu}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        folder / PROVENANCE, {"command": shlex.join(command), "machine": machine | versions, "finished": finished}
    )


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        told = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        told = None
    return told[1] if told else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them; counting them does not start CUDA."""
    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(n) for n in range(count)]


def _free(gpus: list[str]) -> str | None:
    """One of the GPUs that fewer than JOBS_PER_GPU jobs hold, this job from now on; None where there is none.

    SLURM may number the GPUs of each allocation from 0, so locks are an allocation's own.
    """
    owner = f"{os.getuid()}-{os.environ.get('SLURM_JOB_ID', 'workstation')}"
    for place in range(int(os.environ.get("JOBS_PER_GPU", "1"))):  # each GPU's first place before any's second
        for gpu in gpus:
            file = (LOCKS / f"tradeoff-{owner}-gpu-{gpu}-{place}.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            _held.append(file)
            return gpu
    return None
