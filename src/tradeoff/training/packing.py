"""Sequences in one packed row that are blind to each other: an attention that takes boundaries, and a trial of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel

from tradeoff.errors import UserError, one_line
from tradeoff.training import batches
from tradeoff.training.tokens import Sequence

LENGTHS = (7, 5)
VARLEN = "varlen"
WIDEST = 256  # head that FlashAttention takes
ROUNDING = {"float32": 1e-4, "bfloat16": 0.02}  # of a mixture of experts, nats


def attend_within(model: PreTrainedModel, device: torch.device, precision: str) -> None:
    """On a GPU in bfloat16, lets the model attend within sequences alone, which costs no mask and nothing between them.

    Elsewhere its attention stays as it is and masks what is in another sequence.
    """
    if device.type == "cuda" and precision == "bfloat16":
        AttentionInterface.register(VARLEN, _varlen)
        model.set_attn_implementation(VARLEN)


def _varlen(
    module: nn.Module,
    query_BHLK: Tensor,
    key_BGLK: Tensor,
    value_BGLK: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Torch's FlashAttention, causal and within sequences, as an attention function of transformers."""
    widths = {states.shape[-1] for states in (query_BHLK, value_BGLK)}
    if dropout or softcap or s_aux is not None or len(widths) > 1 or max(widths) > WIDEST:
        raise UserError("training.packing: this model's attention has no variable-length form; leave packing out")
    # Rotary positions turn queries and keys into float32, and what autocast does not know it leaves so.
    query_LHK, key_LGK, value_LGK = (s[0].transpose(0, 1).bfloat16() for s in (query_BHLK, key_BGLK, value_BGLK))
    out_LHK = varlen_attn(
        query_LHK,
        key_LGK,
        value_LGK,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=key_LGK.shape[1] != query_LHK.shape[1],
    )
    assert isinstance(out_LHK, Tensor)
    return out_LHK[None], None


@torch.no_grad()
def check(losses: nn.Module, vocabulary: int, device: torch.device, tolerance: float = 0.0) -> None:
    """Changes the first of two packed sequences, which must leave the second one's losses as they were.

    To the bit, but for mixtures of experts, whose products round by the number of tokens that go to an expert.

    Raises:
        UserError: it does not, so that packing would train on other data than it says.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn(length: int) -> Sequence:
        return Sequence("probe", tuple(torch.randint(vocabulary, (length,), generator=generator).tolist()), 0)

    first, second, other = drawn(LENGTHS[0]), drawn(LENGTHS[1]), drawn(LENGTHS[0])
    training = losses.training
    losses.eval()
    try:
        found = [losses(batches.collate([0, 1], [one, second], 0, packed=True).to(device)) for one in (first, other)]
    except (ValueError, TypeError) as error:  # a model that knows that it cannot
        why = one_line(error)
        raise UserError(f"training.packing: this model cannot be packed ({why}); leave packing out") from None
    finally:
        losses.train(training)
    one_T, other_T = (nll_T[first.targets :] for nll_T in found)
    if (one_T - other_T).abs().max() > tolerance:
        raise UserError(
            "training.packing: this model's attention lets sequences in one row see each other; leave packing out"
        )
