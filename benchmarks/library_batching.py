"""Processor time of our generation loop and of transformers' continuous batching: the same prompts, one thread."""

from __future__ import annotations

import time

import common
import torch
from transformers import GenerationConfig

from tradeoff.evaluation.base_text import PROMPTS
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.generation import Prompt, generate, shared_opening

NEW_TOKENS = 32


def main() -> None:
    torch.set_num_threads(1)
    folder = common.model()
    model, chat = load_base(folder), load_chat(folder)
    prompts = [chat.prompt_ids(chat.prompt([{"role": "user", "content": text}])) for text in PROMPTS]
    started = time.process_time()
    asked = [Prompt(ids, NEW_TOKENS, shared_opening(prompts)) for ids in prompts]
    ours = generate(model, asked, chat.ends, chat.pad_id)
    between = time.process_time()
    limits = GenerationConfig(
        max_new_tokens=NEW_TOKENS, eos_token_id=sorted(chat.ends), pad_token_id=chat.pad_id, do_sample=False
    )
    found = model.generate_batch(inputs=prompts, generation_config=limits, progress_bar=False)
    theirs = time.process_time() - between
    written = {tuple(output.prompt_ids): list(output.generated_tokens) for output in found.values()}
    same = sum(written[tuple(ids)] == answer for ids, answer in zip(prompts, ours, strict=True))
    ratio = theirs / (between - started)
    print(f"the library takes {ratio:.1f} times as long; {same} of {len(prompts)} answers are equal")


if __name__ == "__main__":
    main()
