"""L2 to the base: SFT plus strength * ||theta - theta_base||^2.

L2-SP without the classifier term: Li, Grandvalet and Davoine 2018, arXiv 1802.01483. FLOW's comparison (arXiv
2502.02797) divides its strength by the number of parameters; here the strength multiplies the plain sum of squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tradeoff.methods import Method

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class L2(Method):
    """SFT held near the base.

    Attributes:
        strength: Factor on the sum of squared differences over all trained weights, a tied tensor counted once.
    """

    recipe: ClassVar[str] = "l2"
    needs: ClassVar[frozenset[str]] = frozenset({"base_weights"})
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    def penalty(self, model: torch.nn.Module, base: dict[str, Tensor]) -> Tensor:
        """strength * sum of (theta - theta_base)^2; `named_parameters` yields a tied tensor once."""
        from torch.nn.functional import mse_loss  # keeps no difference for the backward pass: half the memory

        trained = [(p, base[name]) for name, p in model.named_parameters() if p.requires_grad]
        return self.strength * sum(mse_loss(p, start, reduction="sum") for p, start in trained)  # type: ignore[return-value]
