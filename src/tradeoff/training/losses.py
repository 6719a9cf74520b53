"""Per-token losses without the [tokens, vocabulary] logits of a whole batch.

Targets that are not supervised are dropped before the head. The head runs over chunks of the rest, so that memory holds
one chunk's logits whatever the batch, and a loss may be any function of the losses. A single chunk is kept for the
backward pass; of several, each is recomputed there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tradeoff.models.parts import Head, text_decoder
from tradeoff.models.precision import uncached
from tradeoff.training.batches import Batch

CHUNK = {"cpu": 512, "cuda": 2048}  # tokens whose logits exist at once; a GPU is faster with more


class TokenLosses(nn.Module):
    """A causal language model whose forward pass returns the nll of each supervised token.

    The model and its losses are one module, so that whatever wraps the root (DDP, FSDP, autocast) sees every call.
    """

    def __init__(self, model: nn.Module, compiled: bool = False, recomputed: bool = False) -> None:
        super().__init__()
        self.model = model
        self._recomputed = recomputed
        self._chunk_nll = torch.compile(_fusible_nll, dynamic=True) if compiled else _chunk_nll

    def forward(self, batch: Batch) -> Tensor:
        """Nats, float32, [supervised tokens], in the order of `Batch.sequence_T`."""
        model = self.model
        decoder = text_decoder(model)
        if batch.opening:
            hidden_BLD = _after_opening(decoder, batch)
        else:
            hidden_BLD = decoder(input_ids=batch.ids_BL, use_cache=False, **_packed(batch)).last_hidden_state
        # Position l predicts token l + 1: the states one to the left of each target.
        hidden_TD = hidden_BLD[:, :-1][batch.supervised_BL[:, batch.opening + 1 :]]
        targets_T = batch.ids_BL[batch.supervised_BL]
        chunk = CHUNK[hidden_TD.device.type]
        return token_nll(hidden_TD, targets_T, Head.of(model), chunk, self._chunk_nll, self._recomputed)


def _after_opening(decoder: Any, batch: Batch) -> Tensor:
    """The last hidden states of what follows the opening, which is read once."""
    read = decoder(input_ids=batch.ids_BL[:1, : batch.opening], use_cache=True).past_key_values
    read.batch_repeat_interleave(len(batch.ids_BL))
    return decoder(input_ids=batch.ids_BL[:, batch.opening :], cache=read).last_hidden_state


def _packed(batch: Batch) -> dict[str, Any]:
    """A packed row's positions and boundaries, under transformers' names, for an attention that takes them."""
    if batch.boundary_N is None:
        return {}
    boundary_N, longest = batch.boundary_N, batch.longest
    return {
        "position_ids": batch.position_BL,
        "cu_seq_lens_q": boundary_N,
        "cu_seq_lens_k": boundary_N,
        "max_length_q": longest,
        "max_length_k": longest,
    }


class _Nll(torch.autograd.Function):
    """-log softmax(logits)[target] of logits that nothing else needs: the gradient takes the place of what was kept."""

    @staticmethod
    def forward(ctx: Any, logits_CV: Tensor, targets_C: Tensor) -> Tensor:
        log_p_CV = logits_CV.log_softmax(-1)
        ctx.save_for_backward(log_p_CV, targets_C)
        return -log_p_CV.gather(-1, targets_C[:, None])[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_C: Tensor) -> tuple[Tensor, None]:
        log_p_CV, targets_C = ctx.saved_tensors
        gradient_CV = log_p_CV.exp_()
        gradient_CV[torch.arange(len(targets_C), device=targets_C.device), targets_C] -= 1
        return gradient_CV.mul_(gradient_C[:, None]), None


def _chunk_nll(hidden_CD: Tensor, targets_C: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    # A weight that autocast casts once and keeps would have its chunks' gradients summed in bfloat16.
    with uncached(hidden_CD.device.type):
        return _Nll.apply(head(hidden_CD).float(), targets_C)


def _fusible_nll(hidden_CD: Tensor, targets_C: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """The same in operations that a compiler fuses."""
    with uncached(hidden_CD.device.type):
        return torch.nn.functional.cross_entropy(head(hidden_CD).float(), targets_C, reduction="none")


def token_nll(
    hidden_TD: Tensor,
    targets_T: Tensor,
    head: Callable[[Tensor], Tensor],
    chunk: int,
    chunk_nll: Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor] = _chunk_nll,
    recomputed: bool = False,
) -> Tensor:
    """-log softmax(head(hidden))[target] for each token, nats, float32, [T]; exact gradients into `hidden` and `head`.

    Args:
        hidden_TD: Last hidden states, one for each target.
        targets_T: Target ids.
        head: Maps [*, D] to logits [*, V].
        chunk: Tokens whose logits exist at once.
        chunk_nll: The same of a chunk, compiled or as it is.
        recomputed: In the backward pass, also where there is one chunk only.
    """
    if len(targets_T) <= chunk and not recomputed:
        return chunk_nll(hidden_TD, targets_T, head)
    parts = []
    for hidden_CD, targets_C in zip(hidden_TD.split(chunk), targets_T.split(chunk), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(chunk_nll, hidden_CD, targets_C, head, use_reentrant=False))
        else:
            parts.append(chunk_nll(hidden_CD, targets_C, head))
    return torch.cat(parts)


def normalised(nll_T: Tensor, weights_T: Tensor | None, targets_in_step: int) -> Tensor:
    """The one normaliser of all methods: sum of weight x nll over the number of supervised tokens of the whole step."""
    return (nll_T if weights_T is None else weights_T * nll_T).sum() / targets_in_step
