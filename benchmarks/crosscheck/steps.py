"""The first steps of SFT, DFT and LoRA against TRL's SFTTrainer: losses, gradients and weights, step by step.

Both trainers start from the same float32 weights and get the same tokens, in the same order, with the same targets.
They run in two threads of one process that wait for each other before every optimizer step, where each shows the
gradients that its optimizer is about to use.
"""

from __future__ import annotations

import threading
from importlib.metadata import version
from typing import Any

import common
import rows
import torch
from accelerate.state import GradientState, ThreadLocalSharedDict
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer
from trl import SFTConfig, SFTTrainer

from tradeoff import domains, methods
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.chat import Chat
from tradeoff.models.parts import adaptable_weights
from tradeoff.training import batches
from tradeoff.training.loop import BETAS, EPSILON, Result, train
from tradeoff.training.losses import TokenLosses
from tradeoff.training.settings import Training
from tradeoff.training.tokens import Sequence

STEPS, FEW, BATCH, ROWS, RATE = (
    20,
    2,
    2,
    1,
    1e-4,
)  # TRL sums up a step from micro-batches of ROWS examples; we take it whole
WAIT = 1800.0  # seconds, for a trainer that does not come to its step
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"recipe": "sft"},
    "dft": {"recipe": "dft"},
    "lora": {"recipe": "lora", "rank": 8, "alpha": 16.0},
}
# Relative: what float32 loses in other orders of summation; Adam's first steps make more of a small gradient's.
OF_LOSS, OF_GRADIENT, OF_PARAMETER, OF_WEIGHTS = 2e-6, 1e-4, 1e-3, 1e-3
AGAINST = f"trl {version('trl')}"

# Whether a micro-batch is a step's last one is accelerate's global state: each trainer gets its own.
GradientState._shared_state = ThreadLocalSharedDict()


class Meeting:
    """Two trainers' gradients of one step, side by side.

    Attributes:
        models: Ours and TRL's.
        found: Of each step, how far apart the gradients are.
    """

    def __init__(self, row: int | None) -> None:
        self.models: dict[str, nn.Module] = {}
        self.found: list[dict[str, float]] = []
        self._barrier = threading.Barrier(2, timeout=WAIT)
        self._shown: dict[str, dict[str, Tensor]] = {}
        self._row = row

    def before_step(self, optimizer: Optimizer, *_: Any) -> None:
        """Called in each trainer's thread before its optimizer's step; ours compares while TRL's waits."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        side = next(s for s, model in self.models.items() if any(id(p) in held for p in model.parameters()))
        named = self.models[side].named_parameters()
        self._shown[side] = {_plain(n): p.grad for n, p in named if id(p) in held and p.grad is not None}
        self._barrier.wait()
        if side == "ours":
            self.found.append(apart(self._shown["ours"], self._shown["trl"], self._row))
        self._barrier.wait()

    def give_up(self) -> None:
        """The other side will not come."""
        self._barrier.abort()


def apart(ours: dict[str, Tensor], theirs: dict[str, Tensor], row: int | None) -> dict[str, float]:
    """Relative distances of the gradients: of all, of the worst parameter, and of all but the padding token's row.

    A parameter's distance is relative to its own gradient, or to a millionth of all if that is more. The last is taken
    only where that row is given, and up to a factor, since clipping scales by the norm of all.
    """
    assert set(ours) == set(theirs), f"other parameters: {sorted(set(ours) ^ set(theirs))[:4]}"
    norm = sum(torch.linalg.vector_norm(g).item() ** 2 for g in theirs.values()) ** 0.5
    worst = 0.0
    for name, gradient in theirs.items():
        size = torch.linalg.vector_norm(gradient).item()
        worst = max(worst, torch.linalg.vector_norm(ours[name] - gradient).item() / max(size, 1e-6 * norm))
    found = {"gradient": _distance(ours, theirs), "worst_parameter": worst}
    if row is not None:
        name = next(name for name in theirs if name.endswith("embed_tokens.weight"))
        ours, theirs = ({**of, name: of[name].index_fill(0, torch.tensor([row]), 0.0)} for of in (ours, theirs))
        scale = sum((g * theirs[n]).sum().item() for n, g in ours.items())
        scale /= sum((g * g).sum().item() for g in theirs.values())
        found["elsewhere"] = _distance(ours, {n: scale * g for n, g in theirs.items()})
    return found


def main() -> None:
    torch.set_num_threads(common.THREADS)
    chat = load_chat(common.model())
    examples = domains.kind("medcalc_mini")().examples("train", STEPS * BATCH, 0, {})
    sequences = [chat.encode(example) for example in examples]
    made, details = [], {}
    for name in ("sft", "lora"):
        details[name] = compared(name, sequences, chat.pad_id, whole=True)
        made += of_run(name, details[name], "transformers' loss")
    strict = all(row.differ == 0 for row in made)
    why = "TRL's ChunkedLogProbFunction adds up the softmax tile by tile of the vocabulary" if strict else None
    few = sequences[: FEW * BATCH]
    for name in METHODS:
        details[f"{name}, TRL's loss"] = compared(name, few, chat.pad_id)
        made += of_run(name, details[f"{name}, TRL's loss"], "TRL's loss", why)
    made += of_padding(chat, details)
    exact = details["against float64"] = against_float64(sequences[:BATCH], chat.pad_id)
    made += [
        rows.of_numbers("first loss", "float64", side, [exact[side]], OF_LOSS, None if side == "ours" else why)
        for side in ("ours", "TRL's loss")
    ]
    rows.tell(made, tokens=sum(len(s.ids) for s in sequences), each=details)


def of_run(name: str, found: dict[str, list[float]], loss: str, why: str | None = None) -> list[rows.Row]:
    """A row for each quantity of a training."""
    return [
        rows.of_numbers(f"{name}, {len(found['loss'])} steps, {loss}", AGAINST, what, found[key], tolerance, why)
        for what, key, tolerance in (
            ("loss", "loss", OF_LOSS),
            ("gradient norm", "norm", OF_GRADIENT),
            ("learning rate", "rate", 1e-12),
            ("gradient, all parameters", "gradient", OF_GRADIENT),
            ("gradient, worst parameter", "worst_parameter", OF_PARAMETER),
            ("change of the weights in the end", "weights", OF_WEIGHTS),
        )
    ]


def of_padding(chat: Chat, details: dict[str, Any]) -> list[rows.Row]:
    """A step of the model as transformers loads it: the padding token's input embedding gets no gradient there."""
    examples = domains.kind("medcalc_mini")().examples("train", BATCH, 0, {})
    name = "sft, 1 step, model as loaded"
    found = details[name] = compared("sft", [chat.encode(e) for e in examples], chat.pad_id, padded=True, whole=True)
    why = f"in transformers the input embedding of {chat.tokenizer.pad_token} gets no gradient, since it is padding too"
    return [
        rows.of_numbers(name, AGAINST, "gradient, all parameters", found["gradient"], OF_GRADIENT, why),
        rows.of_numbers(name, AGAINST, "gradient without that row", found["elsewhere"], OF_GRADIENT),
    ]


@torch.no_grad()
def against_float64(sequences: list[Sequence], pad_id: int) -> dict[str, float]:
    """How far both losses of the same batch are from the loss in float64, relative."""
    model = load_base(common.MODEL)
    batch = batches.collate(list(range(len(sequences))), sequences, pad_id)
    trainer = by_trl("sft", sequences, padded=False, whole=False)
    found = []
    for inputs in trainer.get_train_dataloader():
        fused = trainer.model(**inputs, use_cache=False, fused_lm_head=True)
        found.append(-fused.log_probs[fused.label_mask])
    ours, exact = TokenLosses(model)(batch).double(), TokenLosses(model.double())(batch)
    theirs = torch.cat(found).double()
    return {
        "ours": _relative(ours.mean().item(), exact.mean().item()),
        "TRL's loss": _relative(theirs.mean().item(), exact.mean().item()),
    }


def compared(
    name: str, sequences: list[Sequence], pad_id: int, padded: bool = False, whole: bool = False
) -> dict[str, list[float]]:
    """Relative differences of each step, and of the change that the training made to the weights.

    Args:
        name: Of the method.
        sequences: BATCH for each step.
        pad_id: Token id of padding.
        padded: Leave transformers' `padding_idx` of the input embedding as it is.
        whole: Let TRL compute its loss from the whole logits.
    """
    meeting, method = Meeting(pad_id if padded else None), methods.build(METHODS[name])
    model = load_base(common.MODEL)
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    order = [n for step in batches.steps(len(sequences), BATCH, 1, 0) for n in step]
    trainer = by_trl(name, [sequences[n] for n in order], padded, whole)
    settings = Training(epochs=1, batch_size=BATCH, batch_tokens=512, warmup=0.0)
    meeting.models = {"ours": model, "trl": trainer.model}
    started: Any = Started(method, trainer.model)
    done: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(train(model, sequences, started, settings, RATE, 0, pad_id, base))
        except BaseException as error:
            failed.append(error)
            meeting.give_up()

    hook = register_optimizer_step_pre_hook(meeting.before_step)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        trainer.train()
    except BaseException as error:
        meeting.give_up()
        thread.join()
        raise (failed or [error])[0] from None
    finally:
        hook.remove()
    thread.join()
    (result,) = done
    log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    counts = len(log), len(result.steps), len(meeting.found)
    assert counts == (len(sequences) // BATCH,) * 3, f"steps logged by TRL, by us, and compared: {counts}"
    merged = trainer.model.merge_and_unload() if name == "lora" else trainer.model
    theirs = {n: p.detach() - base[n] for n, p in merged.named_parameters()}
    ours = {n: difference() for n, difference in result.delta.tensors().items()}
    assert set(ours) <= set(theirs)
    assert all(not theirs[n].any() for n in set(theirs) - set(ours))
    pairs = list(zip(result.steps, log, strict=True))
    return {
        "loss": [_relative(step.loss, entry["loss"]) for step, entry in pairs],
        "norm": [_relative(step.gradient_norm, entry["grad_norm"]) for step, entry in pairs],
        "rate": [_relative(step.learning_rate, entry["learning_rate"]) for step, entry in pairs],
        **{key: [step[key] for step in meeting.found] for key in meeting.found[0]},
        "weights": [_distance(ours, theirs)],
        "losses": [step.loss for step, _ in pairs],
    }


class WholeLogits(SFTTrainer):
    """TRL's trainer with transformers' own loss, of the whole logits, in place of a fused head and loss."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)


class Started:
    """A method of ours whose adapters, if it has any, start as those of TRL's model do."""

    def __init__(self, method: methods.Method, of: nn.Module) -> None:
        self._method, self._of = method, of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def prepare(self, model: nn.Module) -> nn.Module:
        model = self._method.prepare(model)
        theirs = {_plain(n): p for n, p in self._of.named_parameters()}
        with torch.no_grad():
            for n, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(theirs[n])
        return model


def by_trl(name: str, sequences: list[Sequence], padded: bool, whole: bool) -> Any:
    """TRL's trainer on these sequences, in this order, with the same optimizer."""
    data = [
        {"input_ids": list(s.ids), "labels": [-100] * s.prompt_length + list(s.ids[s.prompt_length :])}
        for s in sequences
    ]
    model = AutoModelForCausalLM.from_pretrained(common.WEIGHTS, dtype=torch.float32)
    if not padded:
        model.get_input_embeddings().padding_idx = None
    adapters = None
    if name == "lora":
        targets = [n.removesuffix(".weight") for n in adaptable_weights(model)[0]]
        known = METHODS[name]
        adapters = LoraConfig(r=known["rank"], lora_alpha=known["alpha"], lora_dropout=0.0, target_modules=targets)
    return (WholeLogits if whole else SFTTrainer)(
        model=model,
        processing_class=AutoTokenizer.from_pretrained(common.WEIGHTS),
        train_dataset=Dataset.from_list(data),
        peft_config=adapters,
        args=SFTConfig(
            output_dir=str(common.OUTPUT / "trl"),
            per_device_train_batch_size=ROWS,
            gradient_accumulation_steps=BATCH // ROWS,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0,
            weight_decay=0.0,
            optim="adamw_torch_fused",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPSILON,
            max_grad_norm=1.0,
            loss_type="dft" if name == "dft" else "nll",
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            max_length=None,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
    )


def _plain(name: str) -> str:
    """A parameter's name without peft's wrapper."""
    return name.removeprefix("base_model.model.")


def _relative(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / abs(theirs) if ours != theirs else 0.0


def _distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """|a - b| / |b| over all tensors."""
    apart = sum(torch.linalg.vector_norm(a - theirs[n]).item() ** 2 for n, a in ours.items())
    return float((apart / sum(torch.linalg.vector_norm(theirs[n]).item() ** 2 for n in ours)) ** 0.5)


if __name__ == "__main__":
    main()
