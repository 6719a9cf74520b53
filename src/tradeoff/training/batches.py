"""Which examples form an optimizer step, and how a step is split into padded micro-batches.

The seed alone decides the steps. Within a step, sequences are sorted by length and cut into micro-batches under a token
budget; how that falls changes memory and time, never the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tradeoff.training.tokens import Sequence


@dataclass(frozen=True)
class Batch:
    """Padded sequences. Masks come from lengths, never from a token's identity, so that padding may equal end-of-text.

    Attributes:
        ids_BL: Token ids, padded on the right.
        attention_BL: 1 for a sequence's own tokens.
        supervised_BL: True at the tokens that are targets.
        sequence_T: For each target, the number of its sequence in the training set.
    """

    ids_BL: Tensor
    attention_BL: Tensor
    supervised_BL: Tensor
    sequence_T: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in vars(self).items()})


def collate(numbers: list[int], sequences: list[Sequence], pad_id: int) -> Batch:
    """Pads the sequences of these numbers."""
    chosen = [sequences[n] for n in numbers]
    longest = max(len(s.ids) for s in chosen)
    ids_BL = torch.full((len(chosen), longest), pad_id)
    attention_BL = torch.zeros_like(ids_BL)
    supervised_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
    for row, sequence in enumerate(chosen):
        length = len(sequence.ids)
        ids_BL[row, :length] = torch.tensor(sequence.ids)
        attention_BL[row, :length] = 1
        supervised_BL[row, max(sequence.prompt_length, 1) : length] = True
    sequence_T = torch.tensor(numbers).repeat_interleave(torch.tensor([s.targets for s in chosen]))
    return Batch(ids_BL, attention_BL, supervised_BL, sequence_T)


def steps(count: int, batch_size: int, epochs: int, seed: int) -> Iterator[list[int]]:
    """Numbers of the sequences of each optimizer step; every epoch visits each of `count` once, in its own order."""
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        for start in range(0, count, batch_size):
            yield order[start : start + batch_size]


def number_of_steps(count: int, batch_size: int, epochs: int) -> int:
    """How many lists `steps` yields."""
    return epochs * math.ceil(count / batch_size)


def micro_batches(numbers: list[int], sequences: list[Sequence], token_budget: int) -> list[list[int]]:
    """Splits a step, longest first, so that no micro-batch pads to over the budget (a longer sequence goes alone)."""
    parts: list[list[int]] = []
    for number in sorted(numbers, key=lambda n: (-len(sequences[n].ids), n)):
        if parts and len(sequences[parts[-1][0]].ids) * (len(parts[-1]) + 1) <= token_budget:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def share(numbers: list[int], process: int, processes: int) -> list[int]:
    """One process's part of a step."""
    return numbers[process::processes]


def describe(sequences: list[Sequence]) -> dict[str, Any]:
    """Counts for the card of a tokenised data set."""
    return {
        "examples": len(sequences),
        "tokens": sum(len(s.ids) for s in sequences),
        "supervised_tokens": sum(s.targets for s in sequences),
        "longest": max((len(s.ids) for s in sequences), default=0),
    }
