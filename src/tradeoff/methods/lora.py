"""LoRA: low-rank adapters on every linear layer of the decoder and its experts, base frozen.

Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tradeoff.errors import UserError
from tradeoff.methods import Method

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tradeoff.models.delta import Delta, LowRank


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
        """Freezes the base and adds adapters to linear layers and to stacked experts; prints what has none."""
        from peft import LoraConfig, inject_adapter_in_model

        from tradeoff.models.parts import adaptable_weights, without_config

        weights, others = adaptable_weights(model)
        if not weights:
            raise UserError("lora: this model has no linear layer that an adapter can be added to; leave lora out")
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules=[name.removesuffix(".weight") for name, weight in weights.items() if weight.ndim == 2],
            target_parameters=[name for name, weight in weights.items() if weight.ndim == 3],
        )
        print(f"lora: adapts {len(weights)} weights; no adapter on {', '.join(sorted(others)) or 'none'}", flush=True)
        # By a model's configuration, peft would rename targets and leave some out.
        inject_adapter_in_model(config, without_config(model))
        return model

    def difference(self, model: torch.nn.Module, base: dict[str, Tensor]) -> Delta:
        """The adapters as low-rank factors of the base's own weights."""
        from tradeoff.models.delta import Delta

        return Delta(factors=dict(_factors(model)))


def _factors(model: torch.nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Of each adapted weight; peft nests the wrappers of several experts' weights in one module."""
    from peft.tuners.lora import LoraLayer, ParamWrapper

    from tradeoff.models.delta import LowRank
    from tradeoff.training.sharding import whole

    def held(tensor: Tensor) -> Tensor:
        return whole(tensor.detach()).float().cpu()

    for path, module in model.named_modules():
        layer: Any = module
        name = path.replace(".base_layer", "")
        if isinstance(layer, ParamWrapper):
            left, right, scale = layer.get_delta_factors("default")
            yield f"{name}.{layer.parameter_name}", LowRank(held(right), scale * held(left))
        elif isinstance(layer, LoraLayer):
            a, b = held(layer.lora_A["default"].weight), layer.scaling["default"] * held(layer.lora_B["default"].weight)
            yield f"{name}.weight", LowRank(b.T, a.T) if layer.fan_in_fan_out else LowRank(a, b)
