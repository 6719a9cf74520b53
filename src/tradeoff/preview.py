"""What a study trains on, looked at before any hour is spent: tokens, what is supervised, what is dropped."""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import groupby, takewhile
from pathlib import Path

from tradeoff import hub, sources
from tradeoff.errors import UserError, command
from tradeoff.models.chat import Chat
from tradeoff.models.import_base import source_chat, source_context
from tradeoff.sources import registry
from tradeoff.study import Study, from_command_line
from tradeoff.training.encode import kept_of, longest, nothing_left
from tradeoff.training.tokens import Sequence

OPEN, CLOSE = "⟦", "⟧"  # around what is supervised
BARS, WIDTH = 10, 40


def preview(study: Study, model: str, domain: str, shown: int) -> str:
    """The training examples of a domain as a model's tokens.

    Raises:
        UserError: none can be trained on, or data or tokenizer cannot be had.
    """
    entry, known, tables = study.models[model], study.domains[domain], study.hub_tables()
    paths = {
        name: path
        or (hub.obtain(tables[name]) if name in tables else sources.obtain(registry()[name], study.data_root))
        for name, path in study.read_by(domain, "train").items()
    }
    count = None if study.data.train == "all" else study.data.train
    try:
        drawn = known.examples("train", count, study.data.seed, paths)
    except ValueError as error:
        raise UserError(f"domain {domain}, train: {error}") from None
    chat = source_chat(entry.source, entry.revision, entry.settings(), model)
    limit = longest(study.training.max_length, source_context(entry.source, entry.revision))
    kept, counts = kept_of(chat, drawn, limit)
    if not kept:
        raise UserError(f"domain {domain}, train: {nothing_left(counts, limit)}")
    lines = [
        f"{model} on {domain}: {len(kept)} of {len(drawn)} examples are trained on, "
        f"{sum(len(s.ids) for s in kept)} tokens, {sum(s.targets for s in kept)} of them supervised",
        f"  dropped: {_share(counts['dropped_too_long'], len(drawn))} longer than {limit} tokens, "
        f"{_share(counts['dropped_nothing_supervised'], len(drawn))} with nothing to supervise; none is cut",
        f"  {counts['merged_at_boundary']} would be tokenised otherwise if prompt and response were one text",
        *_marks(chat, kept),
        *_prompting(chat),
        "  tokens of an example:",
        *_histogram([len(s.ids) for s in kept]),
    ]
    if known.taught_by:
        lines.append(f"  the responses are {known.taught_by}'s to write; below stand the answers it must reach")
    for sequence in kept[:shown]:
        lines.append(f"\n{sequence.id}: {len(sequence.ids)} tokens, {sequence.targets} supervised {OPEN}so{CLOSE}")
        lines.append(_marked(chat, sequence))
    return "\n".join(lines)


def _marks(chat: Chat, kept: list[Sequence]) -> list[str]:
    """How many begin tokens a sequence starts with, and how many end tokens are supervised: at most 1, and 1 a turn."""
    ends, tokenizer = chat.ends, chat.tokenizer
    begins = Counter(sum(1 for _ in takewhile(lambda token: token == tokenizer.bos_token_id, s.ids)) for s in kept)
    ended = Counter(sum(s.ids[place] in ends for place in s.supervised) for s in kept)
    end = " or ".join(tokenizer.decode([token]) for token in sorted(ends))
    return [
        f"  begin tokens ({tokenizer.bos_token or 'the tokenizer has none'}) at the start: {_counted(begins)}",
        f"  end tokens ({end}) supervised: {_counted(ended)}",
    ]


def _prompting(chat: Chat) -> list[str]:
    """How the model is talked to, here and in evaluation."""
    known = chat.describe()
    arguments = ", ".join(f"{key}: {value}" for key, value in chat.settings.arguments.items()) or "none"
    prefix = f"; every response begins with {chat.settings.response_prefix!r}" if chat.settings.response_prefix else ""
    return [
        f"  generation stops at {' or '.join(known['ends'])}",
        f"  chat template: {'none' if chat.tokenizer.chat_template is None else f'arguments {arguments}'}{prefix}",
        f"  a system turn: {known['system_turn']}",
        f"  date in the prompt: {known['date'] or 'none'}",
    ]


def _counted(counts: Counter[int]) -> str:
    return ", ".join(f"{number} in {count} examples" for number, count in sorted(counts.items()))


def _histogram(lengths: list[int]) -> list[str]:
    step = max(1, -(-(max(lengths) + 1) // BARS))
    counts = Counter(length // step for length in lengths)
    most = max(counts.values())
    return [
        f"  {bar * step:6d} to {bar * step + step - 1:6d}  {'#' * -(-counts[bar] * WIDTH // most)} {counts[bar]}"
        for bar in range(min(counts), max(counts) + 1)
    ]


def _marked(chat: Chat, sequence: Sequence) -> str:
    """A sequence's text with each run of supervised tokens in marks."""
    supervised = set(sequence.supervised)
    runs = groupby(range(len(sequence.ids)), key=supervised.__contains__)
    texts = [(learned, chat.tokenizer.decode([sequence.ids[place] for place in run])) for learned, run in runs]
    return "".join(f"{OPEN}{text}{CLOSE}" if learned else text for learned, text in texts)


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / max(whole, 1):.1%})"


def main() -> None:
    """`python -m tradeoff.preview STUDY`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.preview", description="Look at a study's training data.")
    parser.add_argument("study", type=Path)
    parser.add_argument("--data-root", help="where the data lie, in place of the study's data_root")
    parser.add_argument("--examples", type=int, default=2, help="how many are shown of each model and domain")
    a = parser.parse_args()
    study = from_command_line(a.study, a.data_root)
    for model in study.models:
        for domain in study.domains:
            print(preview(study, model, domain, a.examples), end="\n\n")


if __name__ == "__main__":
    command(main)
