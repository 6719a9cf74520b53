"""Checkpoints: a training that was stopped at any moment goes on, and ends with the same bits as one that was not.

They live outside what Snakemake declares, since it deletes a job's outputs before the job and after a failure, in a
folder whose name is a digest of all that decides the run: another spec never finds them. Tensors are in safetensors;
the JSON beside them has their hash and is written last, so that half a checkpoint is none.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tradeoff.errors import Interrupted
from tradeoff.provenance import read_json, sha256_file, write_json, write_whole
from tradeoff.training.sharding import like, whole

KEPT = 2
MOST_SHARE = 0.05  # of the time, in writing checkpoints
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Moment:
    """All that decides how a training goes on.

    Attributes:
        step: The next optimizer step.
        history: What the steps before it did, as JSON.
        seconds: That they took.
        tensors: Trained parameters, optimizer state and random states by name, and what a method asked to keep.
    """

    step: int
    history: list[dict[str, Any]]
    seconds: float
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: Theirs alone.
        stopping: SIGTERM came, a scheduler's warning that the job will be killed.
    """

    def __init__(self, folder: Path, every_seconds: float = 300.0) -> None:
        self.folder = folder
        self.stopping = False
        self._every = every_seconds
        self._last = time.monotonic()
        self._write_seconds = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Takes note of SIGTERM in place of dying of it."""

        def note(*_: object) -> None:
            self.stopping = True

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def due(self) -> bool:
        """Whether to write one now; a large one is written less often."""
        wait = max(self._every, self._write_seconds / MOST_SHARE)
        return self.stopping or time.monotonic() - self._last >= wait

    def save(self, moment: Moment) -> None:
        """Writes a checkpoint and removes all but the last two.

        Raises:
            Interrupted: the checkpoint was written because the process has to stop.
        """
        started = time.monotonic()
        tensors = self.folder / f"step-{moment.step:08}.safetensors"
        write_whole(tensors, lambda aside: save_file(moment.tensors, aside))
        card = {"history": moment.history, "seconds": moment.seconds, "sha256": sha256_file(tensors)}
        write_json(tensors.with_suffix(".json"), {"step": moment.step, **card})
        for old in self._newest_first()[KEPT:]:
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink()
        self._last = time.monotonic()
        self._write_seconds = self._last - started
        if self.stopping:
            raise Interrupted(f"stopped after step {moment.step}; run again, and it goes on from there")

    def latest(self) -> Moment | None:
        """The newest whole checkpoint; says so where that is not the newest one begun."""
        for tensors in self._newest_first():
            card = tensors.with_suffix(".json")
            try:
                content = read_json(card)
                if content["sha256"] != sha256_file(tensors):
                    raise ValueError("hash")
            except (OSError, ValueError, KeyError):
                print(f"{tensors}: not whole; going on from the checkpoint before, if there is one", flush=True)
                continue
            print(f"going on from step {content['step']}", flush=True)
            return Moment(content["step"], content["history"], content["seconds"], load_file(tensors))
        return None

    def clear(self) -> None:
        """Removes them all: the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)


def state_of(trained: Iterable[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters and AdamW's moments by name, on the CPU; the step count is one tensor for all."""
    tensors = {}
    for name, parameter in trained:
        tensors[f"parameter.{name}"] = whole(parameter.detach()).cpu()
        if state := optimizer.state.get(parameter):  # none where no gradient ever came
            tensors |= {f"{moment}.{name}": whole(state[moment]).cpu() for moment in MOMENTS}
            tensors["optimizer_steps"] = whole(state["step"]).cpu()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def restore(
    tensors: dict[str, Tensor], trained: Iterable[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer
) -> None:
    """Puts back what `state_of` took."""
    for name, parameter in trained:
        parameter.copy_(like(tensors[f"parameter.{name}"], parameter))
        if f"{MOMENTS[0]}.{name}" not in tensors:
            continue
        steps = tensors["optimizer_steps"].clone().to(parameter.device)
        moments = {moment: like(tensors[f"{moment}.{name}"], parameter) for moment in MOMENTS}
        optimizer.state[parameter] = {"step": steps, **moments}


def random_state() -> dict[str, Tensor]:
    """Of this process, which dropout draws from."""
    states = {"random.cpu": torch.get_rng_state()}
    return states | ({"random.cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(states: dict[str, Tensor]) -> None:
    """Puts back what `random_state` took."""
    torch.set_rng_state(states["random.cpu"])
    if "random.cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["random.cuda"])
