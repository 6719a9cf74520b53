"""The one place that separates a model's reasoning from its answer; every scorer reads the answer alone.

Models mark their reasoning in different ways, and their generation prompt may have opened it already. In training data
reasoning is written as `<think>...</think>` ahead of the answer, whatever the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What opens and what closes a block of reasoning.
MARKS = (
    ("<think>", "</think>"),  # Qwen3, DeepSeek-R1, SmolLM3, GLM-4.5, Nemotron, LFM2.5
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<thought>", "</thought>"),  # EXAONE
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ("<|channel>thought", "<channel|>"),  # Gemma 4
)
# Channels, of which all before the final one is reasoning: how another one begins, and how the final one does.
CHANNELS = (
    ("<|channel|>", "<|channel|>final<|message|>"),  # gpt-oss, in the harmony format
    ("to=self<|message|>", "to=user<|message|>"),  # Muse
)
HEADER = re.compile(r"<\|start\|>\w+|(?:<\|channel\|>\w+|\bto=\w+)<\|message\|>|<\|end\|>|<\|eom\|>")


@dataclass(frozen=True)
class Separated:
    """A response in two parts.

    Attributes:
        reasoning: None where there is none; marks left out.
        answer: What comes after the reasoning, or all.
        finished: Whether the response left the reasoning that it began.
    """

    reasoning: str | None
    answer: str
    finished: bool = True


def opening(prompt: str) -> str:
    """The mark with which a prompt ends, so that what follows is reasoning; empty where there is none."""
    end = prompt.rstrip()
    return next((opens for opens, _ in MARKS if end.endswith(opens)), "")


def separate(text: str, opened: str = "") -> Separated:
    """Splits what a model wrote.

    Args:
        text: With its special tokens.
        opened: `opening` of the prompt that it follows.
    """
    for begins, final in CHANNELS:
        reasoning, closed, answer = text.rpartition(final)
        if closed:
            return Separated(HEADER.sub("", reasoning).strip() or None, answer)
        if text.lstrip().startswith(begins):
            return Separated(HEADER.sub("", text).strip(), "", finished=False)
    for opens, closes in MARKS:
        before, closed, after = text.rpartition(closes)
        if closed:
            return Separated(before.replace(opens, "", 1).strip(), after.strip())
        if opens == opened or text.lstrip().startswith(opens):
            return Separated(text.replace(opens, "", 1).strip(), "", finished=False)
    return Separated(None, text)
