"""FLOW: each training example weighted once, by how easy it is for the base. Sanyal et al. 2025, arXiv 2502.02797."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tradeoff.methods import Method, decay

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FLOW(Method):
    """Weight exp(-f / tau) with f the mean nll of a sequence under the base model; static and not normalised.

    Attributes:
        tau: "median" of f over the training set (the authors' code), or a number; infinity gives equal weights.
    """

    recipe: ClassVar[str] = "flow"
    needs: ClassVar[frozenset[str]] = frozenset({"base_nll"})
    tau: Annotated[float, Field(gt=0)] | Literal["median"] = "median"

    def example_weights(self, base_nll_E: Tensor) -> Tensor:
        """exp(-f / tau), [examples]; with a median of 0, 1 for the examples whose f is 0 and 0 for the others."""
        return decay(base_nll_E, base_nll_E.quantile(0.5) if self.tau == "median" else self.tau)
