"""Training on a GPU of 140 GB: tokens a second, memory and MFU of 3B parameters, also through TRL's SFTTrainer.

The weights are random, since speed does not hang on them: the sizes are Qwen2.5-3B's. Sequences are random as well, of
200 to 1,200 tokens, the second half supervised. FLOPs are the useful ones (`training/flops.py`), and the peak is this
card's best bfloat16 matrix product. With arguments, SIDE NAME ..., it runs these variants and prints JSON.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import against_trl
import common
import torch

LENGTHS = (200, 1200)
STEPS, BATCH, BUDGET = 4, 32, 8192  # of an epoch; the first of two chooses kernels, and the second is measured
SIZES: dict[str, Any] = {  # Qwen2.5-3B
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
}
OURS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "padded": ({"recipe": "sft"}, {}),
    "packed": ({"recipe": "sft"}, {"packing": True}),
    "compiled": ({"recipe": "sft"}, {"packing": True, "compile": True}),
    "recomputed": ({"recipe": "sft"}, {"packing": True, "gradient_checkpointing": True}),
    "l2": ({"recipe": "l2", "strength": 0.01}, {"packing": True}),
    "lora": ({"recipe": "lora", "rank": 16, "alpha": 32}, {"packing": True}),
    "talr": ({"recipe": "talr"}, {"packing": True}),
    "talr_previous_step": ({"recipe": "talr", "tau_scope": "previous_step"}, {"packing": True}),
}
TRL_ROWS = 8  # of a micro-batch; without the flash-attn package TRL pads, and about as many fill our budget
TRL: dict[str, dict[str, Any]] = {"chunked": {"loss_type": "chunked_nll"}, "liger": {"use_liger_kernel": True}}


def model() -> Any:
    """Random weights, float32, on the GPU."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.device("cuda"):
        return Qwen2ForCausalLM(Qwen2Config(**SIZES))


def sequences() -> list[Any]:
    from tradeoff.training.tokens import Sequence

    draw, found = random.Random(0), []
    for number in range(STEPS * BATCH):
        ids = tuple(draw.randrange(SIZES["vocab_size"]) for _ in range(draw.randint(*LENGTHS)))
        found.append(Sequence(str(number), ids, len(ids) // 2))
    return found


def peak() -> float:
    """The best rate of a bfloat16 matrix product on this card, FLOP/s."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(20):
            torch.mm(a, b)
        torch.cuda.synchronize()
        best = max(best, 20 * 2 * 8192**3 / (time.perf_counter() - started))
    return best


class Clock:
    """When each step ended."""

    def __init__(self) -> None:
        self.ends = list[float]()

    def tick(self, *_: Any) -> None:
        torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def second_epoch(self) -> float:
        """Seconds."""
        assert len(self.ends) == 2 * STEPS
        return self.ends[-1] - self.ends[STEPS - 1]


def ours(name: str) -> tuple[float, float]:
    """Seconds and FLOPs of a variant's epoch."""
    from tradeoff import methods
    from tradeoff.training.flops import Work
    from tradeoff.training.loop import train
    from tradeoff.training.settings import Training

    recipe, options = OURS[name]
    data, method, trained, clock = sequences(), methods.build(recipe), model(), Clock()
    always = {"epochs": 2, "batch_size": BATCH, "batch_tokens": BUDGET, "precision": "bfloat16"}
    settings = Training.model_validate(always | options)
    base = {n: p.detach().cpu() for n, p in trained.named_parameters()} if "base_weights" in method.needs else {}
    work = Work.of(trained)
    train(trained, data, method, settings, 1e-5, 0, 0, base, None, clock.tick)
    return clock.second_epoch(), sum(work.training(s, method.frozen_base) for s in data)


def trl(name: str) -> tuple[float, float]:
    """See `ours`."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from tradeoff.training.flops import Work

    data, trained, clock = sequences(), model(), Clock()
    rows = [
        {"input_ids": list(s.ids), "completion_mask": [int(i >= s.prompt_length) for i in range(len(s.ids))]}
        for s in data
    ]

    class Tick(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    work = Work.of(trained)
    SFTTrainer(
        model=trained,
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.BPE({"e": 0}, [])), eos_token="e", pad_token="e"
        ),
        train_dataset=Dataset.from_list(rows),
        callbacks=[Tick()],
        args=SFTConfig(
            output_dir=str(common.OUTPUT / "trl"),
            per_device_train_batch_size=TRL_ROWS,
            gradient_accumulation_steps=BATCH // TRL_ROWS,
            num_train_epochs=2,
            learning_rate=1e-5,
            optim="adamw_torch_fused",
            bf16=True,
            gradient_checkpointing=False,
            train_sampling_strategy="group_by_length",
            completion_only_loss=True,
            max_length=LENGTHS[1],
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **TRL[name],
        ),
    ).train()
    return clock.second_epoch(), sum(work.training(s, False) for s in data)


def measured(side: str, names: list[str]) -> Iterator[tuple[str, dict[str, float]]]:
    best = peak()
    for name in names:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        seconds, flops = {"ours": ours, "trl": trl}[side](name)
        yield (
            name,
            {
                "tokens_per_s": sum(len(s.ids) for s in sequences()) / seconds,
                "mfu": flops / seconds / best,
                "peak_memory_bytes": torch.cuda.max_memory_allocated(),
                "peak_flops": best,
            },
        )


def main() -> None:
    common.needs_gpu()
    if sys.argv[1:]:
        side, *names = sys.argv[1:]
        print(json.dumps(dict(measured(side, names))))
        return
    python = against_trl.environment()
    found = {
        "card": torch.cuda.get_device_name(),
        "ours": common.isolated("on_gpu.py", "ours", *OURS),
        "trl": common.isolated("on_gpu.py", "trl", *TRL, python=python),
    }
    common.save("on_gpu", found)


if __name__ == "__main__":
    main()
