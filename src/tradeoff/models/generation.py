"""What a model writes after prompts, and how likely it finds continuations: the loop that every answer goes through.

It takes nothing from a model's generation config: beams, penalties and cut-offs would be another model's text. Prompts
form one queue. The batch holds as many as a budget of tokens allows; a row that has ended gives its place to the next
prompt, and an opening that prompts share is read once. What shares a batch with a prompt changes nothing beyond the
rounding of sums.

transformers' own continuous batching (`generate_batch`) gives the same answers and is made for a GPU's paged attention;
`benchmarks/library_batching.py` compares the two.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tradeoff.models import cache as caches
from tradeoff.models.parts import Head, text_decoder
from tradeoff.training import tokens

BATCH_TOKENS = 16384  # of a batch's prompts and answers
READ_AT_ONCE = 4096  # tokens of prompts; bounds the memory of the longest ones
REFILLED = 8  # the batch is refilled once one row in so many is free: a call for one prompt reads all weights for it
SCORED_AT_ONCE = 512  # tokens whose logits exist at once
PADDED, SHORT = 1.2, 256  # rows are read together up to so much padding, or so few tokens
Chooser = Callable[[Tensor, Sequence[int]], Tensor]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is asked.

    Attributes:
        ids: The prompt, not empty.
        limit: Most new tokens, at least 1.
        opening: How many of its first tokens other prompts share, which are read once.
        stopped: Whether what was written so far ends the answer, for stop strings.
        expected: Other continuations, whose likelihood is measured once the prompt is read.
    """

    ids: Sequence[int]
    limit: int
    opening: int = 0
    stopped: Callable[[list[int]], bool] = lambda ids: False
    expected: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Scored:
    """How likely a continuation is.

    Attributes:
        nll_T: Of each of its tokens, nats, float32.
        greedy: Each of its tokens is the most likely one.
    """

    nll_T: Tensor
    greedy: bool


def argmax(logits_BV: Tensor, numbers: Sequence[int]) -> Tensor:
    """The most likely token of each row, [B]."""
    return logits_BV.argmax(-1)


def drawn(seed: int) -> Chooser:
    """A chooser that draws from the model itself: temperature 1, the whole vocabulary; a prompt has its own draws."""
    generators: dict[int, torch.Generator] = {}

    def choose(logits_BV: Tensor, numbers: Sequence[int]) -> Tensor:
        p_BV = logits_BV.float().softmax(-1).cpu()
        found = []
        for p_V, number in zip(p_BV, numbers, strict=True):
            own = generators.setdefault(number, torch.Generator().manual_seed(_seed_of(seed, number)))
            found.append(p_V.multinomial(1, generator=own))
        return torch.cat(found).to(logits_BV.device)

    return choose


def _seed_of(seed: int, number: int) -> int:
    """Of a prompt's draws; torch's generator for a processor reads 32 bits of it."""
    return random.Random(f"{seed}-{number}").getrandbits(32)


def shared_opening(prompts: Collection[Sequence[int]]) -> int:
    """How many first tokens all prompts share; a prompt's last token is never counted."""
    if len(prompts) < 2:
        return 0
    return min(tokens.common_prefix(prompts), *(len(prompt) - 1 for prompt in prompts))


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    ends: Collection[int],
    pad_id: int,
    batch_tokens: int = BATCH_TOKENS,
    choose: Chooser = argmax,
    done: Callable[[int, list[int]], None] = lambda number, ids: None,
    scored: Callable[[int, list[Scored]], None] = lambda number, found: None,
) -> list[list[int]]:
    """A continuation of each prompt, up to an end token (included), a stop or its limit.

    Args:
        model: In evaluation mode.
        prompts: Asked in this order; from the longest down, little is padded.
        ends: Ids that end a continuation.
        pad_id: Fills rows.
        batch_tokens: Most tokens of a batch: its rows times the longest prompt with its answer.
        choose: Next tokens from logits [B, V] of the prompts with these numbers.
        done: Called with a prompt's number and its continuation once it has ended.
        scored: Called with the number of a prompt that has expected continuations, before `done`.
    """
    written: list[list[int]] = [[] for _ in prompts]
    batch = _Batch(model, prompts, pad_id, batch_tokens, scored)
    if not batch.scores:
        score_expected(model, prompts, pad_id, batch_tokens, scored)
    while batch.fill():
        rows, logits_BV = batch.step()
        numbers = [batch.numbers[row] for row in rows]
        next_B = choose(logits_BV, numbers).tolist()
        for row, number, token in zip(rows, numbers, next_B, strict=True):
            ids = written[number]
            ids.append(token)
            if token in ends or len(ids) >= prompts[number].limit or prompts[number].stopped(ids):
                batch.release(row)
                done(number, ids)
            else:
                batch.next[row] = token
    return written


@torch.inference_mode()
def score(
    model: PreTrainedModel,
    sequences: Sequence[tokens.Sequence],
    pad_id: int,
    batch_tokens: int = BATCH_TOKENS,
    report: Callable[[int], None] = lambda done: None,
) -> list[Scored]:
    """How likely the targets of each sequence are after its prompt. A prompt that occurs several times is read once.

    Args:
        model: In evaluation mode.
        sequences: Each with a target.
        pad_id: Fills rows.
        batch_tokens: Most tokens of a batch: its rows times the longest.
        report: Called with the number of sequences of each batch that is done.
    """
    assert not any(sequence.masked for sequence in sequences), "what is scored follows its prompt without a gap"
    heads = _heads(sequences)
    opening = tokens.common_prefix(heads) if heads else 0
    reader, found = _Reader(model, pad_id), dict[int, Scored]()
    order = sorted(range(len(sequences)), key=lambda n: (-len(heads[n]), heads[n], -len(sequences[n].ids)))
    for numbers in _alike(order, [(len(heads[n]), len(sequences[n].ids) - len(heads[n])) for n in order], batch_tokens):
        states = reader.states([heads[n] for n in numbers], [sequences[n].ids for n in numbers], opening)
        targets = [sequences[n].ids[-sequences[n].targets :] for n in numbers]
        found.update(zip(numbers, _scored(model, states, targets), strict=True))
        report(len(numbers))
    return [found[number] for number in range(len(sequences))]


def score_expected(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    pad_id: int,
    batch_tokens: int,
    scored: Callable[[int, list[Scored]], None],
) -> None:
    """How likely the expected continuations are, by passes of their own; `scored` as of `generate`."""
    wanted = [tokens.Sequence("", (*p.ids, *text), len(p.ids)) for p in prompts for text in p.expected]
    found = iter(score(model, wanted, pad_id, batch_tokens))
    for number, prompt in enumerate(prompts):
        if prompt.expected:
            scored(number, [next(found) for _ in prompt.expected])


def _heads(sequences: Sequence[tokens.Sequence]) -> list[tuple[int, ...]]:
    """What is read ahead of each sequence's rest: a prompt that several have, else the opening that all prompts share.

    The last token of a prompt belongs to the rest, which predicts the first target.
    """
    prompts = [sequence.ids[: len(sequence.ids) - sequence.targets] for sequence in sequences]
    opening, times = shared_opening(prompts), Counter(prompts)
    return [prompt[:-1] if times[prompt] > 1 else prompt[:opening] for prompt in prompts]


def _alike(numbers: Sequence[int], lengths: Sequence[tuple[int, ...]], most: int = sys.maxsize) -> Iterator[list[int]]:
    """Parts whose rows need little padding, or are too short to matter; one row at least, `most` tokens at most.

    Args:
        numbers: What is parted.
        lengths: Tokens of each row, in one or more pieces that are padded on their own.
        most: Tokens of a part, padding included.
    """
    part: list[int] = []
    longest, used = [0] * len(lengths[0]) if lengths else [], 0
    widest = max(map(sum, lengths), default=0)  # padding goes no further than the longest row: it is within the context
    for number, row in zip(numbers, lengths, strict=True):
        wider = [max(a, b) for a, b in zip(longest, row, strict=True)]
        padded = (len(part) + 1) * sum(wider)
        little = padded <= SHORT or padded <= PADDED * (used + sum(row))
        if part and (padded > most or sum(wider) > widest or not little):
            yield part
            part, wider, used = [], list(row), 0
        part.append(number)
        longest, used = wider, used + sum(row)
    if part:
        yield part


def _scored(model: PreTrainedModel, states: list[Tensor], targets: Sequence[Sequence[int]]) -> list[Scored]:
    """From the states ahead of each token, of which the last are those of the targets."""
    states = [row_LD[-len(ids) :] for row_LD, ids in zip(states, targets, strict=True)]
    head, targets_T = Head.of(model), torch.tensor([token for ids in targets for token in ids], device=model.device)
    nll, greedy = [], []
    for states_CD, targets_C in zip(
        torch.cat(states).split(SCORED_AT_ONCE), targets_T.split(SCORED_AT_ONCE), strict=True
    ):
        logits_CV = head(states_CD)
        nll.append(torch.nn.functional.cross_entropy(logits_CV, targets_C, reduction="none").cpu())
        greedy.append((logits_CV.argmax(-1) == targets_C).cpu())
    sizes = [len(ids) for ids in targets]
    return [
        Scored(nll_T, bool(greedy_T.all()))
        for nll_T, greedy_T in zip(torch.cat(nll).split(sizes), torch.cat(greedy).split(sizes), strict=True)
    ]


FREE = -1


class _Batch:
    """Prompts that a model continues together.

    Attributes:
        numbers: The prompt of each row, or `FREE`.
        next: The token that each row reads next.
        scores: Expected continuations are scored as prompts are read; not where rows of the cache cannot be copied.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Prompt],
        pad_id: int,
        batch_tokens: int,
        scored: Callable[[int, list[Scored]], None],
    ) -> None:
        self.numbers: list[int] = []
        self.next: list[int] = []
        self._model, self._prompts, self._pad_id, self._budget = model, prompts, pad_id, batch_tokens
        self._scored = scored
        self._queue = deque(range(len(prompts)))
        self._reader = _Reader(model, pad_id)
        self.scores = self._reader.replaces
        self._cache: DynamicCache | None = None
        self._columns = 0
        self._lengths: list[int] = []  # tokens of each row in the cache

    def fill(self) -> bool:
        """Takes prompts from the queue into the batch; false when there is nothing left to do."""
        active = self._active()
        self._shrink(active)
        if self._queue and (not active or (self._reader.replaces and self._room_for_many())):
            chosen = self._chosen()
            if not self._reader.replaces:
                self._begin(chosen)
            else:
                for part in self._read_together(chosen):
                    self._join(part)
        return bool(self._active())

    def step(self) -> tuple[list[int], Tensor]:
        """Reads each row's next token; the rows that are in use and their logits, [B, V]."""
        ids_B1 = torch.tensor(self.next)[:, None]
        logits_BV = self._reader.next_logits(ids_B1, self._lengths, self._columns, self._cache_of_batch())
        self._columns += 1
        rows = self._active()
        for row in rows:
            self._lengths[row] += 1
        return rows, logits_BV if len(rows) == len(self.numbers) else logits_BV[rows]

    def release(self, row: int) -> None:
        """Gives a row's place free. Until it is taken it reads padding at position 0, whatever the model's context."""
        self.numbers[row], self.next[row], self._lengths[row] = FREE, self._pad_id, 0

    def _opening(self, number: int) -> tuple[int, ...]:
        return tuple(self._prompts[number].ids[: self._prompts[number].opening])

    def _active(self) -> list[int]:
        return [row for row, number in enumerate(self.numbers) if number != FREE]

    def _cache_of_batch(self) -> DynamicCache:
        if self._cache is None:
            self._cache = caches.empty(self._model)
        return self._cache

    def _longest(self, numbers: Sequence[int]) -> int:
        return max((len(self._prompts[n].ids) + self._prompts[n].limit for n in numbers), default=0)

    def _chosen(self) -> list[int]:
        """The next prompts for which the budget has room; where rows are not replaced, all or none of one token."""
        active = [self.numbers[row] for row in self._active()]
        longest, chosen = self._longest(active), list[int]()
        for number in self._queue:
            longest = max(longest, self._longest([number]))
            if (len(active) + len(chosen) + 1) * longest > self._budget and active + chosen:
                break
            first = self._prompts[chosen[0] if chosen else number]
            if not self._reader.replaces and (len(first.ids) == 1) != (len(self._prompts[number].ids) == 1):
                break
            chosen.append(number)
        return chosen

    def _room_for_many(self) -> bool:
        """Whether enough rows are free, or could be added, that reading prompts for them pays."""
        active = len(self._active())
        room = self._budget // max(1, self._longest([*(n for n in self.numbers if n != FREE), self._queue[0]])) - active
        return room > 0 and room * REFILLED >= active

    def _read_together(self, chosen: list[int]) -> Iterator[list[int]]:
        """Parts of one opening and of like length."""
        for _, of_one_opening in groupby(chosen, self._opening):
            numbers = list(of_one_opening)
            yield from _alike(numbers, [(len(self._prompts[n].ids) - 1 - self._prompts[n].opening,) for n in numbers])

    def _join(self, chosen: list[int]) -> None:
        """Reads prompts, and lets them take the places of rows that have ended, or new ones at the end."""
        read = self._reader.read([self._prompts[n].ids[:-1] for n in chosen], self._prompts[chosen[0]].opening)
        self._score_expected(chosen, read)
        free = [row for row, number in enumerate(self.numbers) if number == FREE]
        lengths = [len(self._prompts[n].ids) - 1 for n in chosen]
        rows = max(len(self.numbers), len(self.numbers) - len(free) + len(chosen))
        columns = max(self._columns, *lengths)
        pairs = caches.pairs(self._cache_of_batch(), read)
        if rows > len(self.numbers) or columns > self._columns:
            for layer in caches.begun(self._cache_of_batch()):
                layer.resize(rows, columns)
            more = rows - len(self.numbers)
            self.numbers += [FREE] * more
            self.next += [self._pad_id] * more
            self._lengths += [0] * more
            free = [row for row, number in enumerate(self.numbers) if number == FREE]
            self._columns = columns
        for source, (row, number, length) in enumerate(zip(free, chosen, lengths, strict=False)):
            for mine, theirs in pairs:
                mine.put(row, theirs, source, length)
            self._take(row, number, length)

    def _score_expected(self, chosen: list[int], read: DynamicCache) -> None:
        """From the prompts as they are read, on copies."""
        wanted = [(place, text) for place, n in enumerate(chosen) for text in self._prompts[n].expected]
        heads = [self._prompts[chosen[place]].ids for place, _ in wanted]
        lengths = [(len(head) - 1, len(text)) for head, (_, text) in zip(heads, wanted, strict=True)]
        found: dict[int, list[Scored]] = {}
        for part in _alike(range(len(wanted)), lengths, self._budget):
            places, texts = [wanted[n][0] for n in part], [wanted[n][1] for n in part]
            tails = [[heads[n][-1], *text[:-1]] for n, text in zip(part, texts, strict=True)]
            states = self._reader.after(read, places, [lengths[n][0] for n in part], tails)
            for place, likely in zip(places, _scored(self._model, states, texts), strict=True):
                found.setdefault(place, []).append(likely)
        for place, likely_of_all in found.items():
            self._scored(chosen[place], likely_of_all)

    def _begin(self, chosen: list[int]) -> None:
        """A batch of its own, padded on the left, for a model whose rows are not replaced."""
        self.numbers, self.next, self._lengths = [FREE] * len(chosen), [0] * len(chosen), [0] * len(chosen)
        heads = [self._prompts[number].ids[:-1] for number in chosen]
        self._cache, self._columns = self._reader.read_left(heads), max(map(len, heads))
        for row, (number, head) in enumerate(zip(chosen, heads, strict=True)):
            self._take(row, number, len(head))

    def _take(self, row: int, number: int, length: int) -> None:
        popped = self._queue.popleft()
        assert popped == number
        self.numbers[row], self.next[row], self._lengths[row] = number, self._prompts[number].ids[-1], length

    def _shrink(self, active: list[int]) -> None:
        """Drops columns that no row in use has, and, when no prompt will take them, free rows.

        No more columns than tokens of a row: models may have a table of as many as their context.
        """
        if not active:
            self.numbers, self.next, self._lengths, self._cache, self._columns = [], [], [], None, 0
        if self._cache is None:
            return
        if 2 * len(active) <= len(self.numbers) and not (self._queue and self._reader.replaces):
            self._cache.reorder_cache(torch.tensor(active, device=self._model.device))
            self.numbers, self.next = [self.numbers[r] for r in active], [self.next[r] for r in active]
            self._lengths = [self._lengths[r] for r in active]
            active = list(range(len(active)))
        unused = self._columns - max(self._lengths[row] for row in active)
        if self._reader.replaces and unused:
            for layer in caches.begun(self._cache):
                layer.trim(unused)
            self._columns -= unused


class _Reader:
    """Forward passes over tokens that follow a cache.

    Attributes:
        replaces: A row of this model's cache can give its place to another.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int) -> None:
        self._model, self._pad_id = model, pad_id
        self._decoder = text_decoder(model)
        self.replaces = caches.replaceable(caches.empty(model))
        self._takes_positions = {module: _takes_positions(module) for module in (model, self._decoder)}
        self._opening: tuple[tuple[int, ...], DynamicCache] | None = None

    def read(self, heads: Sequence[Sequence[int]], opening: int) -> DynamicCache:
        """A cache of these tokens, each row from its first column on; the opening that all share is read once."""
        cache = self._opened(tuple(heads[0][:opening]), len(heads))
        tails = [head[opening:] for head in heads]
        longest = max(map(len, tails))
        if longest:
            ids_BL = _right_padded(tails, self._pad_id)
            lengths_B = torch.tensor([[len(head)] for head in heads])
            self._forward(ids_BL, torch.arange(opening + longest) < lengths_B, opening, cache)
        return cache

    def read_left(self, heads: Sequence[Sequence[int]]) -> DynamicCache:
        """A cache of these tokens, each row up to the last column, for a model that has to begin with them."""
        cache, longest = caches.empty(self._model), max(map(len, heads))
        if longest:
            ids_BL = torch.tensor([[self._pad_id] * (longest - len(head)) + list(head) for head in heads])
            starts_B1 = torch.tensor([[longest - len(head)] for head in heads])
            mask_BL = torch.arange(longest) >= starts_B1
            self._read(self._decoder, ids_BL, mask_BL, (mask_BL.cumsum(-1) - 1).clamp(min=0), cache)
        return cache

    def next_logits(self, ids_B1: Tensor, lengths: list[int], columns: int, cache: DynamicCache) -> Tensor:
        """Logits after one more token of each row, [B, V]; rows end at the last column."""
        where = _after(lengths, columns, 1)
        logits_B1V: Tensor = self._read(self._model, ids_B1, *where, cache, logits_to_keep=1).logits
        return logits_B1V[:, -1]

    def states(self, heads: Sequence[Sequence[int]], sequences: Sequence[Sequence[int]], opening: int) -> list[Tensor]:
        """The last hidden states ahead of each token that follows a head, [tokens, D]; the last tokens have the last.

        Args:
            heads: What sequences begin with; one that several have is read once.
            sequences: Ids.
            opening: How many first tokens all heads share.
        """
        if not self.replaces:  # rows cannot be copied: each sequence from its beginning
            ids_BL = _right_padded([ids[:-1] for ids in sequences], self._pad_id)
            states_BLD = self._decoder(input_ids=ids_BL.to(self._model.device), use_cache=False).last_hidden_state
            return [row_LD[: len(ids) - 1] for row_LD, ids in zip(states_BLD, sequences, strict=True)]
        places = {head: place for place, head in enumerate(dict.fromkeys(map(tuple, heads)))}
        lengths = [len(head) for head in heads]
        read = self.read(list(places), opening) if max(lengths) else caches.empty(self._model)
        tails = [ids[length:-1] for ids, length in zip(sequences, lengths, strict=True)]
        return self.after(read, [places[tuple(head)] for head in heads], lengths, tails)

    def after(
        self, read: DynamicCache, places: Sequence[int], lengths: list[int], tails: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """The last hidden states of tokens that follow rows of a cache, on copies of these, [tokens, D].

        Args:
            read: As of `read`.
            places: The row of it that each tail follows.
            lengths: Tokens of that row.
            tails: Ids.
        """
        cache, columns = caches.empty(self._model), max(lengths)
        if columns:
            for mine, theirs in caches.pairs(cache, read):
                mine.resize(len(places), columns)
                for row, (place, length) in enumerate(zip(places, lengths, strict=True)):
                    mine.put(row, theirs, place, length)
        ids_BL = _right_padded(tails, self._pad_id)
        where = _after(lengths, columns, ids_BL.shape[1])
        states_BLD = self._read(self._decoder, ids_BL, *where, cache).last_hidden_state
        return [row_LD[: len(tail)] for row_LD, tail in zip(states_BLD, tails, strict=True)]

    def _opened(self, opening: tuple[int, ...], rows: int) -> DynamicCache:
        if not opening:
            return caches.empty(self._model)
        if self._opening is None or self._opening[0] != opening:
            cache = caches.empty(self._model)
            self._forward(torch.tensor([opening]), torch.ones(1, len(opening), dtype=torch.bool), 0, cache)
            self._opening = (opening, cache)
        return caches.repeated(self._opening[1], self._model, rows)

    def _forward(self, ids_BL: Tensor, mask_BL: Tensor, before: int, cache: DynamicCache) -> None:
        """Reads tokens after `before` columns that all rows have, in parts; the mask is of all columns."""
        size = max(1, READ_AT_ONCE // len(ids_BL))
        for start in range(0, ids_BL.shape[1], size):
            end = min(start + size, ids_BL.shape[1])
            position_BL = torch.arange(before + start, before + end).expand(len(ids_BL), -1)
            self._read(self._decoder, ids_BL[:, start:end], mask_BL[:, : before + end], position_BL, cache)

    def _read(
        self, module: Any, ids_BL: Tensor, mask_BC: Tensor, position_BL: Tensor, cache: DynamicCache, **options: Any
    ) -> Any:
        """One pass; the mask is of all columns, those of these tokens the last."""
        if self._takes_positions[module]:
            options["position_ids"] = position_BL.to(self._model.device)
        return module(
            input_ids=ids_BL.to(self._model.device),
            attention_mask=mask_BC.long().to(self._model.device),
            cache=cache,
            use_cache=True,
            **options,
        )


def _right_padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in rows])


def _after(lengths: list[int], columns: int, more: int) -> tuple[Tensor, Tensor]:
    """The mask of rows that end at the last column and of more tokens, and the positions of these."""
    lengths_B1 = torch.tensor(lengths)[:, None]
    return torch.arange(columns + more) >= columns - lengths_B1, lengths_B1 + torch.arange(more)


def _takes_positions(module: Any) -> bool:
    return "position_ids" in inspect.signature(module.forward).parameters
