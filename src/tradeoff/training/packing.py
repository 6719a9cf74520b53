"""Whether sequences in one packed row are blind to each other, tried on the model at hand."""

from __future__ import annotations

import torch
from torch import nn

from tradeoff.errors import UserError
from tradeoff.training import batches
from tradeoff.training.tokens import Sequence

LENGTHS = (7, 5)


@torch.no_grad()
def check(losses: nn.Module, vocabulary: int, device: torch.device) -> None:
    """Changes the first of two packed sequences, which must leave the second one's losses as they were, to the bit.

    Raises:
        UserError: it does not, so that packing would train on other data than it says.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn(length: int) -> Sequence:
        return Sequence("probe", tuple(torch.randint(vocabulary, (length,), generator=generator).tolist()), 0)

    first, second, other = drawn(LENGTHS[0]), drawn(LENGTHS[1]), drawn(LENGTHS[0])
    training = losses.training
    losses.eval()
    found = [losses(batches.collate([0, 1], [one, second], 0, packed=True).to(device)) for one in (first, other)]
    losses.train(training)
    of_second = [nll_T[first.targets :] for nll_T in found]
    if not torch.equal(*of_second):
        raise UserError(
            "training.packing: this model's attention lets sequences in one row see each other; leave packing out"
        )
