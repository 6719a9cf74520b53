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
        width: Layers x hidden size, for attention's products over the tokens before.
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
        return cls(linear, inner.get_output_embeddings().weight.numel(), text.num_hidden_layers * text.hidden_size)

    def forward(self, sequence: Sequence) -> int:
        """FLOPs of reading a sequence once; attention is causal, so half of the square."""
        length = len(sequence.ids)
        return 2 * (length * self.linear + sequence.targets * self.head + length * length * self.width)

    def training(self, sequence: Sequence, frozen_base: bool) -> int:
        """FLOPs of learning from a sequence: gradients of activations cost a forward pass, those of weights another."""
        return (2 if frozen_base else 3) * self.forward(sequence)
