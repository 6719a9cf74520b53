"""Which examples form an optimizer step, and how a step is split into micro-batches, padded or packed.

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

from tradeoff.training.tokens import Sequence, common_prefix

LEAST_SHARED = 1 / 5  # of a micro-batch's tokens, for which a second call of the model pays


@dataclass(frozen=True)
class Batch:
    """Sequences in rows, padded or packed; what is supervised comes from places, so padding may equal end-of-text.

    There is no attention mask. Padding is on the right, where a causal model's tokens do not look, and a mask would
    make attention compute the half that is above the diagonal; in a packed row it would let sequences see each other.

    Attributes:
        ids_BL: Token ids, padded on the right; packed, all sequences in one row.
        supervised_BL: True at the tokens that are targets.
        sequence_T: For each target, the number of its sequence in the training set.
        position_BL: Of a packed row, where each sequence begins at 0; None for padded rows.
        boundary_N: Of a packed row, where its sequences begin, and its end; int32.
        longest: Of a packed row, the length of its longest sequence.
        opening: Leading tokens that padded rows share and the model reads once.
        filler: Counts for nothing: a process goes through it for the others', with which it adds up gradients.
    """

    ids_BL: Tensor
    supervised_BL: Tensor
    sequence_T: Tensor
    position_BL: Tensor | None = None
    boundary_N: Tensor | None = None
    longest: int | None = None
    opening: int = 0
    filler: bool = False

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        moved: dict[str, Any] = {n: t.to(device) for n, t in vars(self).items() if isinstance(t, Tensor)}
        return replace(self, **moved)


def collate(
    numbers: list[int], sequences: list[Sequence], pad_id: int, packed: bool = False, share: bool = False
) -> Batch:
    """The sequences of these numbers, all in one row or each in a row of its own, which may share an opening."""
    if packed:
        return _packed(numbers, sequences)
    opening = shared_opening([sequences[n] for n in numbers]) if share else 0
    return replace(_padded(numbers, sequences, pad_id), opening=opening)


def shared_opening(rows: list[Sequence]) -> int:
    """How many tokens all rows begin with, none of which predicts a target; 0 where reading them once does not pay."""
    opening = min(common_prefix([row.ids for row in rows]), *(row.prompt_length - 1 for row in rows))
    read = len(rows) * max(len(row.ids) for row in rows)
    return opening if opening * (len(rows) - 1) >= LEAST_SHARED * read else 0


def _packed(numbers: list[int], sequences: list[Sequence]) -> Batch:
    chosen = [sequences[n] for n in numbers]
    lengths = torch.tensor([len(s.ids) for s in chosen])
    ids_L = torch.tensor([token for s in chosen for token in s.ids])
    position_L = torch.cat([torch.arange(len(s.ids)) for s in chosen])
    # The first token of a sequence is no target: what is before it is another sequence.
    begin_L = torch.tensor([max(s.prompt_length, 1) for s in chosen]).repeat_interleave(lengths)
    supervised_L = position_L >= begin_L
    starts = (lengths.cumsum(0) - lengths).tolist()
    masked = [start + place for start, s in zip(starts, chosen, strict=True) for place in s.masked]
    supervised_L[torch.tensor(masked, dtype=torch.long)] = False
    return Batch(
        ids_L[None],
        supervised_L[None],
        _sequence_of_targets(numbers, sequences),
        position_L[None],
        boundary_N=torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int(),
        longest=int(lengths.max()),
    )


def _sequence_of_targets(numbers: list[int], sequences: list[Sequence]) -> Tensor:
    return torch.tensor(numbers).repeat_interleave(torch.tensor([sequences[n].targets for n in numbers]))


def _padded(numbers: list[int], sequences: list[Sequence], pad_id: int) -> Batch:
    chosen = [sequences[n] for n in numbers]
    longest = max(len(s.ids) for s in chosen)
    ids_BL = torch.full((len(chosen), longest), pad_id)
    supervised_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
    for row, sequence in enumerate(chosen):
        length = len(sequence.ids)
        ids_BL[row, :length] = torch.tensor(sequence.ids)
        supervised_BL[row, max(sequence.prompt_length, 1) : length] = True
        supervised_BL[row, torch.tensor(sequence.masked, dtype=torch.long)] = False
    return Batch(ids_BL, supervised_BL, _sequence_of_targets(numbers, sequences))


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


def micro_batches(
    numbers: list[int], sequences: list[Sequence], token_budget: int, packed: bool = False
) -> list[list[int]]:
    """Splits a step, longest first, so that no micro-batch has more tokens than the budget, padding included.

    A sequence that is longer than the budget goes alone.
    """
    parts: list[list[int]] = []
    tokens = 0
    for number in sorted(numbers, key=lambda n: (-len(sequences[n].ids), n)):
        length = len(sequences[number].ids)
        tokens = tokens + length if packed else len(sequences[parts[-1][0]].ids) * (len(parts[-1]) + 1) if parts else 0
        if parts and tokens <= token_budget:
            parts[-1].append(number)
        else:
            parts.append([number])
            tokens = length
    return parts


def step_of_process(
    numbers: list[int],
    sequences: list[Sequence],
    pad_id: int,
    token_budget: int,
    packed: bool = False,
    share: bool = False,
    process: int = 0,
    processes: int = 1,
) -> list[Batch]:
    """One process's micro-batches of a step: as many in each process, since they go through the model together."""
    of_each = [micro_batches(numbers[n::processes], sequences, token_budget, packed) for n in range(processes)]
    mine = [collate(part, sequences, pad_id, packed, share) for part in of_each[process]]
    lacking = max(map(len, of_each)) - len(mine)
    shortest = min(numbers, key=lambda n: (len(sequences[n].ids), n))
    return mine + [replace(collate([shortest], sequences, pad_id, packed), filler=True) for _ in range(lacking)]


def describe(sequences: list[Sequence]) -> dict[str, Any]:
    """Counts for the card of a tokenised data set."""
    return {
        "examples": len(sequences),
        "tokens": sum(len(s.ids) for s in sequences),
        "supervised_tokens": sum(s.targets for s in sequences),
        "longest": max((len(s.ids) for s in sequences), default=0),
    }
