"""Model averaging: theta_base + alpha (theta - theta_base). WiSE-FT, Wortsman et al. 2021, arXiv 2109.01903."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tradeoff.methods import Method

if TYPE_CHECKING:
    from tradeoff.models.delta import Delta


@dataclass(frozen=True)
class Average(Method):
    """A finished run moved back towards the base; trains nothing and stores nothing.

    Attributes:
        of: Name of the averaged method in the same study.
        alpha: Share of the trained difference that is kept; 0 is the base, 1 the trained model.
    """

    recipe: ClassVar[str] = "average"
    of: str
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5

    @property
    def source(self) -> str:
        """The averaged method."""
        return self.of

    def finish(self, delta: Delta) -> Delta:
        """Scales the difference."""
        return delta.scaled(self.alpha)
