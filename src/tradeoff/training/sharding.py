"""One model split over processes: each holds a part of the weights, gradients and optimizer state (FSDP2)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(losses: nn.Module, layers: list[nn.Module]) -> None:
    """Splits a model's decoder layers one by one, and the rest with the module that is called."""
    for layer in layers:
        fully_shard(layer)
    fully_shard(losses)


def summed(losses: nn.Module, last: bool, accelerator: Accelerator) -> AbstractContextManager[None]:
    """For one micro-batch of a step: processes add up their gradients with the last one."""
    if isinstance(losses, FSDPModule):
        losses.set_requires_gradient_sync(last)
        return nullcontext()
    return nullcontext() if last else accelerator.no_sync(losses)


def in_parts(model: nn.Module, losses: nn.Module) -> nn.Module:
    """The model without what a forward pass fetched of others' parts."""
    if isinstance(losses, FSDPModule):
        losses.reshard()
    return model


def whole(tensor: Tensor) -> Tensor:
    """A tensor of all processes' parts, in every process; one that is not split as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a whole tensor, where the parameter is split."""
    if not isinstance(parameter, DTensor):
        return tensor.to(parameter.device)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
