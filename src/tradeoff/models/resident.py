"""A base that stays in memory and becomes one run's result after another, so that an evaluation job loads it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from tradeoff.models.base import load_base, load_delta, weights_file
from tradeoff.models.chat import Chat
from tradeoff.models.generation import BATCH_TOKENS, Prompt, Scored, generate
from tradeoff.models.precision import DTYPES, device


class Resident:
    """The engine that runs everywhere. One model on the evaluation's device, of which only the weights change.

    Attributes:
        model: In evaluation mode. Its weights have the evaluation's precision; rotary frequencies stay in float32.
    """

    def __init__(self, base: Path, precision: str, chat: Chat, batch_tokens: int = BATCH_TOKENS) -> None:
        """Loads a base.

        Args:
            base: The base's folder.
            precision: A key of `DTYPES`.
            chat: How the base is talked to; what ends an answer is in it.
            batch_tokens: Most tokens of a batch.
        """
        self.model: PreTrainedModel = load_base(base, DTYPES[precision]).to(device()).eval()
        self._base, self._chat, self._batch_tokens = base, chat, batch_tokens
        self._changed = set[str]()

    @torch.no_grad()
    def become(self, run: Path | None) -> PreTrainedModel:
        """The base plus a run's difference, added in float32 and then rounded; without a run, the base itself."""
        differences = load_delta(run).tensors() if run else {}
        parameters = dict(self.model.named_parameters())
        with safe_open(weights_file(self._base), "pt") as file:
            for name in sorted(self._changed | differences.keys()):
                weight = file.get_tensor(name).to(self.model.device).float()
                if name in differences:
                    weight = weight + differences[name]().to(weight.device)
                parameters[name].copy_(weight)
        self._changed = set(differences)
        return self.model

    def generate(
        self,
        prompts: Sequence[Prompt],
        done: Callable[[int, list[int]], None],
        scored: Callable[[int, list[Scored]], None] = lambda number, found: None,
    ) -> None:
        """Greedy continuations, and the likelihood of expected ones; see `generation.generate`."""
        generate(self.model, prompts, self._chat.ends, self._chat.pad_id, self._batch_tokens, done=done, scored=scored)
