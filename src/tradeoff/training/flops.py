"""Operations that a training has to do, whoever does it: no padding, no head where nothing is supervised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from tradeoff.models.parts import linear_weights, text_config
from tradeoff.training.tokens import Sequence


@dataclass(frozen=True)
class Work:
    """What a model's matrix products cost, counting a multiplication and an addition as 2 (arXiv 2001.08361).

    Attributes:
        linear: Weights that every token is multiplied with; of experts, as many as a token goes to.
        head: Weights that every supervised token is multiplied with as well.
        width: Layers x heads x a head's size, for attention's products over the tokens before.
    """

    linear: int
    head: int
    width: int

    @classmethod
    def of(cls, model: nn.Module) -> Work:
        """Reads the sizes off a causal language model of transformers; only its text is counted."""
        inner: Any = model
        text = text_config(model)
        chosen = getattr(text, "num_experts_per_tok", None)
        weights, _ = linear_weights(model)
        linear = sum(w[:chosen].numel() if w.ndim == 3 else w.numel() for w in weights.values())
        heads = getattr(text, "num_attention_heads", 0)  # none where all layers are recurrent
        size = getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0)
        width = text.num_hidden_layers * heads * size
        return cls(linear, inner.get_output_embeddings().weight.numel(), width)

    def forward(self, sequence: Sequence) -> int:
        """FLOPs of reading a sequence once."""
        return self._weights(sequence) + self._attention(sequence)

    def training(self, sequence: Sequence, frozen_base: bool) -> int:
        """FLOPs of learning from a sequence: each factor of a product has a gradient that costs what the product does.

        Of a weight and an activation, a frozen base leaves out the weight's; attention multiplies two activations.
        What adapters add is not counted.
        """
        return (2 if frozen_base else 3) * self._weights(sequence) + 3 * self._attention(sequence)

    def _weights(self, sequence: Sequence) -> int:
        return 2 * (len(sequence.ids) * self.linear + sequence.targets * self.head)

    def _attention(self, sequence: Sequence) -> int:
        """Scores and sums of values; attention is causal, so half of the square."""
        return 2 * len(sequence.ids) ** 2 * self.width
