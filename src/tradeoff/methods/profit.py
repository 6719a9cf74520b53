"""ProFit: tokens of low probability under the current model are left out of the loss. arXiv 2601.09195.

The threshold of 0.1 is the one that is known of it; nothing else of its recipe is. A mask by the base's losses, as in
STM (arXiv 2501.14315), would need the base's loss of every token; the contract gives means of examples alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tradeoff.methods import Method, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProFit(Method):
    """Token weight 1 where p is at least the threshold, 0 elsewhere.

    Attributes:
        threshold: Least probability, under the current model, of a token that is learned from; 0 is SFT.
    """

    recipe: ClassVar[str] = "profit"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1

    def token_weights(self, tokens: Tokens) -> Tensor:
        """1 or 0, [T]."""
        return ((-tokens.nll_T).exp() >= self.threshold).to(tokens.nll_T)
