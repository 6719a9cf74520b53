"""Continuations of prompts in a batch, token by token: the loop that every answer and every sampled text goes through.

It takes nothing from a model's generation config: beams, penalties and cut-offs would be another model's text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, DynamicLayer, PreTrainedModel

from tradeoff.models.parts import text_config

ROOM = 64  # tokens ahead
READ_AT_ONCE = 2048  # tokens of a prompt; bounds the memory of the longest ones
Chooser = Callable[[Tensor], Tensor]


def argmax(logits_BV: Tensor) -> Tensor:
    """The most likely token of each row, [B]."""
    return logits_BV.argmax(-1)


def drawn(seed: int) -> Chooser:
    """A chooser that draws from the model itself: temperature 1, the whole vocabulary."""
    generator = torch.Generator().manual_seed(seed)

    def choose(logits_BV: Tensor) -> Tensor:
        p_BV = logits_BV.float().softmax(-1).cpu()
        return p_BV.multinomial(1, generator=generator)[:, 0].to(logits_BV.device)

    return choose


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: list[list[int]],
    limits: Sequence[int],
    ends: Collection[int],
    pad_id: int,
    choose: Chooser = argmax,
    stopped: Callable[[int, list[int]], bool] = lambda row, ids: False,
) -> list[list[int]]:
    """A continuation of each prompt, up to an end token (included), a stop or its limit.

    Rows that have ended leave the batch once half of them have, so that no time goes into padding.

    Args:
        model: In evaluation mode.
        prompts: Ids, none empty.
        limits: Most new tokens of each row.
        ends: Ids that end a row.
        pad_id: Fills rows on the left.
        choose: Next tokens from logits [B, V] of the rows that are left.
        stopped: Whether what a row, by its number, has written so far ends it, for stop strings.
    """
    cache = _cache(model)
    shared = _shared([prompt[:-1] for prompt in prompts]) if _plain(cache) and not _windowed(model) else []
    forward = _Forward(model, cache)
    if shared:  # a template's opening, read once
        opening_1L = torch.tensor([shared], device=model.device)
        forward(opening_1L, torch.ones_like(opening_1L), torch.arange(len(shared), device=model.device)[None])
        cache.batch_repeat_interleave(len(prompts))
    tails = _left_padded([prompt[len(shared) :] for prompt in prompts], pad_id)
    ids_BL, attention_BL = (tensor.to(model.device) for tensor in tails)
    attention_BL = torch.cat([attention_BL.new_ones(len(prompts), len(shared)), attention_BL], dim=1)
    position_BL = (attention_BL.cumsum(-1) - 1)[:, len(shared) :].clamp(min=0)
    end_E = torch.tensor(sorted(ends), device=model.device)
    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    ended_B = torch.zeros(len(rows), dtype=torch.bool, device=model.device)
    while True:
        next_B = choose(forward(ids_BL, attention_BL, position_BL))
        for row, token, ended in zip(rows, next_B.tolist(), ended_B.tolist(), strict=True):
            if not ended:
                written[row].append(token)
        full = [len(written[row]) >= limits[row] or stopped(row, written[row]) for row in rows]
        ended_B = ended_B | torch.isin(next_B, end_E) | torch.tensor(full, device=model.device)
        if bool(ended_B.all()):
            return written
        if int(ended_B.sum()) * 2 >= len(rows):
            keep_B = (~ended_B).nonzero()[:, 0]
            cache.reorder_cache(keep_B)
            rows = [rows[i] for i in keep_B.tolist()]
            next_B, attention_BL, position_BL = next_B[keep_B], attention_BL[keep_B], position_BL[keep_B]
            ended_B = ended_B[keep_B]
        ids_BL = next_B[:, None]
        attention_BL = torch.cat([attention_BL, attention_BL.new_ones(len(rows), 1)], dim=1)
        position_BL = position_BL[:, -1:] + 1


class _Forward:
    """The next token's logits, [B, V]; prompts are read in parts where the cache allows it."""

    def __init__(self, model: PreTrainedModel, cache: DynamicCache) -> None:
        self.model, self.cache = model, cache
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.at_once = READ_AT_ONCE if _attends_only(cache) else None

    def __call__(self, ids_BL: Tensor, attention_BL: Tensor, position_BL: Tensor) -> Tensor:
        length = ids_BL.shape[1]
        before = attention_BL.shape[1] - length
        size = self.at_once or length
        for start in range(0, length, size):
            end = min(start + size, length)
            options: dict[str, Any] = {"position_ids": position_BL[:, start:end]} if self.takes_positions else {}
            logits_B1V: Tensor = self.model(
                input_ids=ids_BL[:, start:end],
                attention_mask=attention_BL[:, : before + end],
                cache=self.cache,
                use_cache=True,
                logits_to_keep=1,
                **options,
            ).logits
        return logits_B1V[:, -1]


class RoomyLayer(DynamicLayer):
    """Keys and values with room for more behind them, so that a new token is written and the others are not copied."""

    keys: Tensor
    values: Tensor
    _rooms: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """See `DynamicLayer.update`: appends, and returns everything."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        end = length + key_states.shape[-2]
        if self._rooms is None or self._rooms[0].shape[-2] < end or len(self._rooms[0]) != len(key_states):
            self._rooms = (_roomy(self.keys, key_states, end), _roomy(self.values, value_states, end))
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., length:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self._rooms)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """See `DynamicLayer.batch_repeat_interleave`."""
        super().batch_repeat_interleave(repeats)
        self._rooms = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """See `DynamicLayer.reorder_cache`, which may leave rows out."""
        super().reorder_cache(beam_idx)
        self._rooms = None


def _roomy(held: Tensor, new: Tensor, end: int) -> Tensor:
    """What is held, with room up to `end` tokens and some more; [batch, heads, tokens, width]."""
    batch, heads, _, width = new.shape
    room = new.new_empty(batch, heads, end + ROOM, width)
    if held.numel():
        room[..., : held.shape[-2], :] = held
    return room


def _cache(model: PreTrainedModel) -> DynamicCache:
    """A cache whose plain layers have room; others, such as those of sliding windows, are as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _plain(cache: DynamicCache) -> bool:
    """Whether every layer attends to all tokens, so that padding between an opening and the rest is just masked.

    In a window padding counts as tokens, and a recurrent state goes through it.
    """
    return all(type(layer) is RoomyLayer for layer in cache.layers)


def _windowed(model: PreTrainedModel) -> bool:
    """Whether layers attend within a window that the cache knows nothing of (GPT-Neo)."""
    return getattr(text_config(model), "window_size", None) is not None


def _attends_only(cache: DynamicCache) -> bool:
    """Whether no layer is recurrent: such a layer's state is not carried into a second part of a prompt."""
    return not any(hasattr(layer, "recurrent_states") for layer in cache.layers)


def _left_padded(prompts: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts to generate from: ids and attention mask, both [prompts, longest], padded on the left."""
    longest = max(map(len, prompts))
    ids_BL = torch.tensor([[pad_id] * (longest - len(p)) + p for p in prompts])
    attention_BL = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids_BL, attention_BL


def _shared(prompts: list[list[int]]) -> list[int]:
    """The longest opening that all have."""
    first, last = min(prompts), max(prompts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
