"""SFT: supervised fine-tuning of all weights, every supervised token alike."""

from dataclasses import dataclass
from typing import ClassVar

from tradeoff.methods import Method


@dataclass(frozen=True)
class SFT(Method):
    """The mean nll of the supervised tokens; the defaults of the contract."""

    recipe: ClassVar[str] = "sft"
