"""LoRA: low-rank adapters on every linear layer but the head, base frozen. Hu et al. 2021, arXiv 2106.09685."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tradeoff.methods import Method

if TYPE_CHECKING:
    import torch

    from tradeoff.models import Delta


@dataclass(frozen=True)
class LoRA(Method):
    """theta_base + (alpha / rank) B A, with B = 0 at the start and no dropout.

    Attributes:
        rank: Rank of each adapter.
        alpha: Numerator of the scale alpha / rank, applied once.
        lr_multiplier: Factor on the study's learning rates: at the rates of full tuning an adapter hardly trains.
    """

    recipe: ClassVar[str] = "lora"
    frozen_base: ClassVar[bool] = True
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 32.0
    lr_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @property
    def learning_rate_factor(self) -> float:
        """The multiplier of this entry."""
        return self.lr_multiplier

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """Freezes the base and adds adapters."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=0.0, target_modules="all-linear")
        return get_peft_model(model, config, autocast_adapter_dtype=True)

    def finish(self, delta: Delta) -> Delta:
        """Pairs the adapters' matrices into low-rank factors of the base's own weights."""
        from tradeoff.models import Delta, LowRank

        prefix, a, b = "base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight"
        scale = self.alpha / self.rank
        factors = {
            name.removeprefix(prefix).replace(a, ".weight"): LowRank(A, scale * delta.dense[name.replace(a, b)])
            for name, A in delta.dense.items()
            if name.endswith(a)
        }
        assert 2 * len(factors) == len(delta.dense), "a trained tensor that is no adapter"
        return Delta(factors=factors)
