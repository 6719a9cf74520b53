"""One training by TRL's SFTTrainer, measured: EXAMPLES BATCH PRECISION. Prints JSON.

The fastest configuration that is correct on a CPU in a given precision (bfloat16 is autocast, as ours is): fused AdamW,
no recomputation, steps of examples of like length, its own chunked loss; packing and padding-free batches need an
attention that a CPU does not have.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import common
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Ticks(TrainerCallback):
    def __init__(self) -> None:
        self.clock = common.Clock()

    def on_train_begin(self, *_, **__):
        self.clock = common.Clock()

    def on_step_end(self, args, state, control, **_):
        self.clock.tick(int(state.num_input_tokens_seen))


def main() -> None:
    file, batch, precision = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(common.THREADS)
    tokenizer = AutoTokenizer.from_pretrained(common.WEIGHTS)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    dataset = Dataset.from_list(
        [{"prompt": r["messages"], "completion": [{"role": "assistant", "content": r["response"]}]} for r in rows]
    )
    ticks = Ticks()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(common.WEIGHTS, dtype=torch.float32),
        processing_class=tokenizer,
        train_dataset=dataset,
        callbacks=[ticks],
        args=SFTConfig(
            output_dir=str(common.OUTPUT / "trl"),
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=1e-5,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
            bf16=precision == "bfloat16",
            include_num_input_tokens_seen="non_padding",
            use_cpu=True,
            gradient_checkpointing=False,
            train_sampling_strategy="group_by_length",
            completion_only_loss=True,
            max_length=2048,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
    )
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    trainer.train()
    found = {
        **ticks.clock.figures(),
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    assert found["tokens"] == sum(lengths), "a step's tokens are counted without padding"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
