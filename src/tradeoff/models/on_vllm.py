"""vLLM as the engine that writes answers: an extra for GPUs. Likelihoods stay with our own forward pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tradeoff.errors import UserError
from tradeoff.models.base import MODEL
from tradeoff.models.chat import Chat
from tradeoff.models.generation import BATCH_TOKENS, Prompt, Scored, score_expected
from tradeoff.models.resident import Resident

WAVE = 512  # prompts that are handed over at once; a killed job loses their answers
MEMORY = 0.5  # of the GPU: the model that measures likelihoods lies beside it


class OnVLLM(Resident):
    """As `Resident`; answers are vLLM's, whose weights are updated in place and which never restarts.

    Raises:
        UserError: vLLM is not installed.
    """

    def __init__(self, base: Path, precision: str, chat: Chat, batch_tokens: int = BATCH_TOKENS) -> None:
        super().__init__(base, precision, chat, batch_tokens)
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the weights are to be in this process
        try:
            from vllm import LLM
        except ImportError as error:
            raise UserError(
                f"evaluation.engine: vllm is not installed here ({error}); install it (docs/performance.md says how), "
                "or remove the key"
            ) from None
        self._llm: Any = LLM(
            model=str(base / MODEL),
            skip_tokenizer_init=True,
            dtype=precision,
            seed=0,
            enable_prefix_caching=True,
            gpu_memory_utilization=MEMORY,
        )

    def become(self, run: Path | None) -> PreTrainedModel:
        """See `Resident.become`."""
        model = super().become(run)
        weights = ((name, parameter.data) for name, parameter in model.named_parameters())
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self._llm.reset_prefix_cache()
        return model

    def generate(
        self,
        prompts: Sequence[Prompt],
        done: Callable[[int, list[int]], None],
        scored: Callable[[int, list[Scored]], None] = lambda number, found: None,
    ) -> None:
        """See `Resident.generate`; vLLM sizes its batches, and stops at stop strings after the fact."""
        from vllm import SamplingParams

        score_expected(self.model, prompts, self._chat.pad_id, self._batch_tokens, scored)
        for start in range(0, len(prompts), WAVE):
            wave = prompts[start : start + WAVE]
            asked = [{"prompt_token_ids": list(prompt.ids)} for prompt in wave]
            options = [
                SamplingParams(
                    temperature=0, max_tokens=p.limit, stop_token_ids=sorted(self._chat.ends), detokenize=False
                )
                for p in wave
            ]
            for number, found in enumerate(self._llm.generate(asked, options, use_tqdm=False), start):
                done(number, stopped(list(found.outputs[0].token_ids), prompts[number]))


def stopped(ids: list[int], prompt: Prompt) -> list[int]:
    """What was written up to a stop string."""
    return next((ids[:end] for end in range(1, len(ids) + 1) if prompt.stopped(ids[:end])), ids)
