"""TALR: token-adaptive loss reweighting. Lin et al. 2025, arXiv 2509.20758; its code is not released.

Minimising sum_i w_i nll_i + tau sum_i w_i log w_i over the simplex gives w_i proportional to exp(-nll_i / tau) =
p_i^(1/tau). The floor of 0.01 and the missing normalisation follow a public re-implementation, the scope of tau two
independent descriptions; all are options. tau = 1 with floor 0 is DFT (arXiv 2508.05629).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tradeoff.methods import Method, Scope, Tokens, decay

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-30


@dataclass(frozen=True)
class TALR(Method):
    """Token weight max(exp(-nll / tau), floor) from the current model, detached.

    Attributes:
        tau: "median_sequence" (median over the batch of each sequence's mean nll), "median_token" (median of the token
            losses), or a number.
        tau_scope: The batch that the median is taken over: "step" (all micro-batches and processes, so that the result
            does not depend on how a step is split), "previous_step" (free, one step late) or "micro_batch".
        floor: Least weight of a token; 1 is SFT.
        normalise: Divide the weights by their mean over the same batch, as the closed form on the simplex would.
    """

    recipe: ClassVar[str] = "talr"
    tau: Annotated[float, Field(gt=0)] | Literal["median_sequence", "median_token"] = "median_sequence"
    tau_scope: Literal["step", "previous_step", "micro_batch"] = "step"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.01
    normalise: bool = False

    @property
    def scope(self) -> Scope:
        """A fixed tau without normalisation needs no other token."""
        return self.tau_scope if isinstance(self.tau, str) or self.normalise else "token"

    def token_weights(self, tokens: Tokens) -> Tensor:
        """max(exp(-nll / tau), floor), [T]; with a median of 0, 1 where nll is 0 and the floor elsewhere."""
        if self.scope == "token":
            return self._weights(tokens.nll_T, float(self.tau))
        assert tokens.reference is not None
        tau = self._tau(tokens.reference)
        weights_T = self._weights(tokens.nll_T, tau)
        if self.normalise:
            mean = self._weights(tokens.reference.nll_T, tau).mean()
            weights_T = weights_T / mean.clamp(min=TINY)  # all weights may be 0
        return weights_T

    def _tau(self, tokens: Tokens) -> Tensor | float:
        if self.tau == "median_sequence":
            return tokens.sequence_nll_S().quantile(0.5)
        if self.tau == "median_token":
            return tokens.nll_T.quantile(0.5)
        return float(self.tau)

    def _weights(self, nll_T: Tensor, tau: Tensor | float) -> Tensor:
        return decay(nll_T, tau).clamp(min=self.floor)
