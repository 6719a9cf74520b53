"""Keys and values of a batch whose rows come and go.

All rows end at the same column, so that one attention mask, padded on the left, is right for every kind of attention,
also within a window. A row that has ended gives its place to another without a copy of the others.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache, DynamicLayer, PreTrainedModel
from transformers.cache_utils import DummyLayer, DynamicSlidingWindowLayer

ROOM = 64  # columns ahead


class Rows(DynamicLayer):
    """One layer's keys and values, [rows, heads, columns, width], with room for more columns.

    A new token is written into the room and the others are not copied. A layer with a window keeps all tokens too: its
    mask is made for a cache without a window, and a row's place can then be given to another.
    """

    keys: Tensor
    values: Tensor
    _rooms: tuple[Tensor, Tensor] | None = None
    _start = 0  # of the columns in their room

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """See `DynamicLayer.update`: appends, and returns everything."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if self._rooms is None or self._start + after > self._rooms[0].shape[-2]:
            self._move(len(key_states), before, after, key_states, value_states)
        rooms, start = self._rooms, self._start
        assert rooms is not None
        for room, states in zip(rooms, (key_states, value_states), strict=True):
            room[..., start + before : start + after, :] = states
        self._see(start, start + after)
        return self.keys, self.values

    def trim(self, columns: int) -> None:
        """Forgets the first columns."""
        if self._rooms is None:
            self.keys, self.values = self.keys[..., columns:, :], self.values[..., columns:, :]
        else:
            self._see(self._start + columns, self._start + self.get_seq_length())

    def resize(self, rows: int, columns: int) -> None:
        """Adds rows, and columns at the left, of zeros."""
        length, rooms = self.get_seq_length(), []
        for held in (self.keys, self.values):
            room = held.new_zeros(rows, held.shape[1], columns + ROOM, held.shape[3])
            room[: len(held), :, columns - length : columns] = held
            rooms.append(room)
        self._rooms = (rooms[0], rooms[1])
        self._see(0, columns)

    def put(self, row: int, source: Rows, source_row: int, length: int) -> None:
        """Writes the first tokens of another layer's row so that they are the last of a row here."""
        end = self.get_seq_length()
        for here, there in ((self.keys, source.keys), (self.values, source.values)):
            here[row, :, end - length : end] = there[source_row, :, :length]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """See `DynamicLayer.reorder_cache`, which may leave rows out."""
        super().reorder_cache(beam_idx)
        self._rooms, self._start = None, 0

    def _move(self, rows: int, before: int, after: int, *like: Tensor) -> None:
        """To larger rooms."""
        rooms = []
        for held, new in zip((self.keys, self.values), like, strict=True):
            room = new.new_empty(rows, new.shape[1], after + ROOM, new.shape[3])
            if before:
                room[..., :before, :] = held
            rooms.append(room)
        self._rooms, self._start = (rooms[0], rooms[1]), 0

    def _see(self, start: int, end: int) -> None:
        assert self._rooms is not None
        self._start = start
        self.keys, self.values = (room[..., start:end, :] for room in self._rooms)


def empty(model: PreTrainedModel) -> DynamicCache:
    """A cache for a model: of `Rows` where all layers attend, else of the library's own layers."""
    cache = DynamicCache(config=model.config)
    if all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer) for layer in cache.layers):
        cache.layers = [layer if type(layer) is DummyLayer else Rows() for layer in cache.layers]
    return cache


def replaceable(cache: DynamicCache) -> bool:
    """Whether a row can give its place to another: not where a layer has a state, or keys of its own making."""
    return all(isinstance(layer, Rows | DummyLayer) for layer in cache.layers)


def repeated(cache: DynamicCache, model: PreTrainedModel, rows: int) -> DynamicCache:
    """A cache of one row as one of several, which copies when it grows."""
    copy = empty(model)
    for mine, layer in zip(copy.layers, cache.layers, strict=True):
        if isinstance(layer, Rows) and layer.is_initialized:
            mine.lazy_initialization(layer.keys, layer.values)
            mine.keys, mine.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    return copy


def begun(cache: DynamicCache) -> list[Rows]:
    """The layers that hold something."""
    return [layer for layer in cache.layers if isinstance(layer, Rows) and layer.is_initialized]


def pairs(cache: DynamicCache, other: DynamicCache) -> list[tuple[Rows, Rows]]:
    """The layers of two caches that hold something; what the first has not begun is begun."""
    found = []
    for mine, theirs in zip(cache.layers, other.layers, strict=True):
        if isinstance(mine, Rows) and isinstance(theirs, Rows) and theirs.is_initialized:
            if not mine.is_initialized:
                mine.lazy_initialization(theirs.keys, theirs.values)
                mine.keys, mine.values = theirs.keys[:0, :, :0], theirs.values[:0, :, :0]
            found.append((mine, theirs))
    return found
