"""A result as base + delta.

Why a delta: at a learning rate of 1e-6 most updates are smaller than half a bfloat16 step of the weight that they
change, so a model saved in bfloat16 has lost them, while the difference itself keeps them at half the size of a float32
checkpoint. Differences are formed, stored and applied here and nowhere else, always added in float32. Names are those
of the model's `named_parameters`, which a base's file has too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tradeoff.errors import UserError
from tradeoff.provenance import write_whole
from tradeoff.training.sharding import whole

DELTA = "delta.safetensors"


@dataclass(frozen=True)
class LowRank:
    """A difference B A of rank r, in the layout of the parameter, which may be a stack of matrices.

    Attributes:
        A: [..., r, columns].
        B: [..., rows, r], any scale included.
    """

    A: Tensor
    B: Tensor

    def dense(self) -> Tensor:
        """The difference itself, [..., rows, columns]."""
        return self.B.float() @ self.A.float()


@dataclass(frozen=True)
class Delta:
    """A trained model minus its base, by parameter name; a parameter that is absent did not change.

    Attributes:
        dense: Differences as tensors.
        factors: Differences as low-rank factors.
    """

    dense: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Mapping[str, LowRank] = field(default_factory=dict)

    @classmethod
    def between(cls, model: torch.nn.Module, base: Mapping[str, Tensor]) -> Delta:
        """Trained parameters minus the base's."""
        trained = {name: whole(p.detach()).float().cpu() for name, p in model.named_parameters() if p.requires_grad}
        return cls({name: p - base[name] for name, p in trained.items()})

    def scaled(self, factor: float) -> Delta:
        """The difference times a factor, in float32."""
        return Delta(
            {name: factor * tensor.float() for name, tensor in self.dense.items()},
            {name: LowRank(low.A, factor * low.B.float()) for name, low in self.factors.items()},
        )

    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        """Each parameter's difference in float32, formed when called."""
        return {
            **{name: tensor.float for name, tensor in self.dense.items()},
            **{name: low.dense for name, low in self.factors.items()},
        }

    @torch.no_grad()
    def add_to(self, model: torch.nn.Module) -> None:
        """Turns the base into the trained model, in place and in the model's float32."""
        parameters = dict(model.named_parameters())
        for name, difference in self.tensors().items():
            assert parameters[name].dtype == torch.float32, "a difference is added in float32 only"
            parameters[name].add_(difference().to(parameters[name].device))

    def statistics(self, base: Mapping[str, Tensor]) -> dict[str, float]:
        """How far the update went, and how much of it a bfloat16 export would keep.

        Returns:
            delta_norm: Euclidean norm over all parameters.
            share_moved: Share of the base's weights that changed in float32.
            share_kept_bfloat16: Share of the base's weights that still differ once both are rounded to bfloat16.
        """
        squares = moved = kept = 0.0
        for name, difference in self.tensors().items():
            delta, start = difference(), base[name]
            end = start + delta
            squares += torch.linalg.vector_norm(delta, dtype=torch.float64).item() ** 2
            moved += (end != start).sum().item()
            kept += (end.bfloat16() != start.bfloat16()).sum().item()
        total = sum(tensor.numel() for tensor in base.values())
        return {"delta_norm": squares**0.5, "share_moved": moved / total, "share_kept_bfloat16": kept / total}

    def save(self, path: Path) -> None:
        """Dense differences in bfloat16 (relative error at most 2^-9), factors in float32."""
        tensors = {name: tensor.bfloat16().contiguous() for name, tensor in self.dense.items()}
        for name, low in self.factors.items():
            tensors[f"{name}:A"], tensors[f"{name}:B"] = low.A.float().contiguous(), low.B.float().contiguous()
        write_whole(path, lambda aside: save_file(tensors, aside))

    @classmethod
    def load(cls, path: Path) -> Delta:
        """Reads what `save` wrote.

        Raises:
            UserError: the file is missing or not whole.
        """
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise UserError(f"{path}: not a whole delta ({error}); delete it and run again") from None
        names = {name.removesuffix(":A") for name in tensors if name.endswith(":A")}
        factors = {name: LowRank(tensors.pop(f"{name}:A"), tensors.pop(f"{name}:B")) for name in sorted(names)}
        return cls(tensors, factors)
