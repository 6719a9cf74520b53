"""DFT: each token's loss times its own probability. Wu et al. 2025, arXiv 2508.05629.

It is TALR at tau = 1 without a floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tradeoff.methods import Method, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DFT(Method):
    """Token weight p from the current model, detached."""

    recipe: ClassVar[str] = "dft"

    def token_weights(self, tokens: Tokens) -> Tensor:
        """exp(-nll), [T]."""
        return (-tokens.nll_T).exp()
