"""The shared training loop: every method goes through it, and it knows none by name."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn

from tradeoff import machine
from tradeoff.errors import Interrupted, UserError
from tradeoff.methods import Method, Tokens
from tradeoff.models.delta import Delta
from tradeoff.models.parts import (
    decoder_layers,
    freeze_rest,
    gradient_as_rows,
    has_experts,
    shares_openings,
    text_config,
)
from tradeoff.models.precision import device
from tradeoff.training import batches, packing, sharding
from tradeoff.training.batches import Batch
from tradeoff.training.checkpoints import Checkpoints, Moment, random_state, restore, set_random_state, state_of
from tradeoff.training.flops import Work
from tradeoff.training.losses import TokenLosses, normalised
from tradeoff.training.settings import Training
from tradeoff.training.tokens import Sequence

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class Step:
    """What one optimizer step did.

    Attributes:
        step: From 0.
        loss: Weighted, normalised loss with penalty, nats per supervised token, before the update.
        nll: Mean nll of the step's supervised tokens, nats.
        mean_weight: Mean weight of those tokens.
        gradient_norm: Before clipping.
        learning_rate: In force at this step.
        tokens: Tokens read, padding not counted.
        supervised_tokens: Tokens that were targets.
    """

    step: int
    loss: float
    nll: float
    mean_weight: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    supervised_tokens: int


@dataclass(frozen=True)
class Result:
    """A finished training: the difference to the base, each step, and what it cost."""

    delta: Delta
    steps: list[Step]
    cost: dict[str, Any]


def train(
    model: nn.Module,
    sequences: list[Sequence],
    method: Method,
    settings: Training,
    learning_rate: float,
    seed: int,
    pad_id: int,
    base: dict[str, Tensor],
    base_nll_E: Tensor | None = None,
    report: Callable[[Step], None] = lambda step: None,
    checkpoints: Checkpoints | None = None,
    snapshots: Mapping[int, Callable[[Delta], None]] | None = None,
) -> Result:
    """Fine-tunes a model in place.

    Args:
        model: The base, float32.
        sequences: The training examples.
        method: The hooks.
        settings: What all methods share.
        learning_rate: The study's; the method may multiply it.
        seed: Decides the order of the examples, adapters' initial values and dropout.
        pad_id: Token id of padding.
        base: The base's parameters by name, float32.
        base_nll_E: Mean nll of each sequence under the base, for a method that needs it.
        report: Called after each step.
        checkpoints: From which it goes on, and where it leaves some; without, a stopped training is lost.
        snapshots: For a number of steps, what is to be done with the difference to the base after so many.

    Raises:
        UserError: the loss or its gradient is not finite; names step and examples.
        Interrupted: it was asked to stop, and left a checkpoint.
    """
    started, energy = time.perf_counter(), machine.energy_joules()
    set_seed(seed)
    accelerator = Accelerator(
        mixed_precision="no" if settings.precision == "float32" else "bf16",
        cpu=device().type == "cpu",  # without it, processes on a machine without GPU train the same run side by side
    )
    work = Work.of(model)
    if settings.packing:
        packing.attend_within(_of_transformers(model), accelerator.device, settings.precision)
    freeze_rest(model)
    in_one = accelerator.device.type == "cpu" and accelerator.num_processes == 1
    if in_one:  # processes sum dense gradients only
        gradient_as_rows(model)
    layers = decoder_layers(model)
    model = method.prepare(model)
    if settings.gradient_checkpointing:
        _of_transformers(model).gradient_checkpointing_enable({"use_reentrant": False})
    if settings.compile:
        for layer in layers:
            layer.compile(dynamic=True)
    # A second call of the model: a GPU would lose more by the mask, recomputation and a compiler by the cache.
    recomputed = settings.gradient_checkpointing or settings.compile
    share = in_one and not recomputed and shares_openings(model)
    split = settings.shard and accelerator.num_processes > 1
    losses: nn.Module = TokenLosses(
        model, compiled=settings.compile and not split, recomputed=settings.gradient_checkpointing
    ).train()
    if split:
        sharding.shard(losses.to(accelerator.device), layers)
    losses = accelerator.prepare_model(losses, evaluation_mode=split)  # parts of one model are not copies of it as well
    named = [(name, p) for name, p in losses.named_parameters() if p.requires_grad]
    trained = [parameter for _, parameter in named]
    peak = learning_rate * method.learning_rate_factor
    optimizer = torch.optim.AdamW(
        trained, lr=peak, betas=BETAS, eps=EPSILON, weight_decay=settings.weight_decay, fused=True
    )
    optimizer = accelerator.prepare_optimizer(optimizer)
    if settings.packing:
        rounding = packing.ROUNDING[settings.precision] if has_experts(model) else 0.0
        packing.check(losses, text_config(model).vocab_size, accelerator.device, rounding)
    held = {}
    if "base_weights" in method.needs:
        held = {name: sharding.like(base[name], p) for name, p in model.named_parameters() if name in base}
    example_weights_E = method.example_weights(base_nll_E) if base_nll_E is not None else None
    total = batches.number_of_steps(len(sequences), settings.batch_size, settings.epochs)
    history: list[Step] = []
    previous: Tokens | None = None
    if checkpoints is not None and (moment := checkpoints.latest()) is not None:
        history, previous = _resume(moment, named, optimizer, accelerator)
        started -= moment.seconds

    order = enumerate(batches.steps(len(sequences), settings.batch_size, settings.epochs, seed))
    for number, chosen in islice(order, len(history), None):
        # ------------------------------------------------------------------------------------------- one optimizer step
        process = (accelerator.process_index, accelerator.num_processes)
        parts = batches.step_of_process(
            chosen, sequences, pad_id, settings.batch_tokens, settings.packing, share, *process
        )
        micro = [part.to(accelerator.device) for part in parts]
        targets = sum(sequences[n].targets for n in chosen)
        ahead = [losses(batch) for batch in micro] if _keeps_graphs(method, settings, micro, accelerator) else []
        reference = _reference(method, losses, micro, previous, accelerator, [nll_T.detach() for nll_T in ahead])
        rate = peak * schedule(settings, number, total)
        for group in optimizer.param_groups:
            group["lr"] = rate

        loss = torch.zeros((), device=accelerator.device)
        seen: list[tuple[Tokens, Tensor]] = []
        for index, batch in enumerate(micro):
            last = index == len(micro) - 1
            with sharding.summed(losses, last, accelerator):
                nll_T = ahead.pop(0) if ahead else losses(batch)
                tokens = _tokens(nll_T, batch, method, reference)
                weights_T = _weights(method, tokens, example_weights_E)
                part = normalised(nll_T, weights_T, targets) * (0.0 if batch.filler else 1.0)
                loss += part.detach()
                # Processes average their gradients, and the loss is a sum over them.
                objective = part * accelerator.num_processes
                if last and (penalty := method.penalty(sharding.in_parts(model, losses), held)) is not None:
                    penalty = sharding.whole(penalty)
                    objective = objective + penalty
                    loss += penalty.detach() / accelerator.num_processes
                accelerator.backward(objective)
            if not batch.filler:
                seen.append((tokens, weights_T if weights_T is not None else torch.ones_like(tokens.nll_T)))
        norm = sharding.whole(accelerator.clip_grad_norm_(trained, settings.max_grad_norm))
        optimizer.step()
        optimizer.zero_grad()
        # --------------------------------------------------------------------------------------------------------------
        step, previous = _record(number, rate, loss, norm, targets, chosen, sequences, seen, accelerator)
        history.append(step)
        report(step)
        if snapshots and len(history) in snapshots:
            snapshots[len(history)](method.finish(method.difference(model, base)))
        if checkpoints is not None and number + 1 < total and _agreed(checkpoints.due(), accelerator):
            seconds = time.perf_counter() - started
            _save(
                checkpoints, history, previous if method.scope == "previous_step" else None, seconds, named, optimizer
            )

    assert history, "no training examples"
    cost = {
        "seconds": time.perf_counter() - started,
        "flops": settings.epochs * sum(work.training(s, method.frozen_base) for s in sequences),
        "peak_memory_bytes": _peak_memory(accelerator.device),
        "energy_joules": None if energy is None else (machine.energy_joules() or energy) - energy,
        "device": accelerator.device.type,
        "gpu": torch.cuda.get_device_name() if accelerator.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
    }
    return Result(method.finish(method.difference(model, base)), history, cost)


def _of_transformers(model: nn.Module) -> Any:
    """The model, with the methods that models of transformers and peft have and `nn.Module` does not declare."""
    return model


def _agreed(due: bool, accelerator: Accelerator) -> bool:
    """Whether any process wants a checkpoint, in which all take part."""
    wanted = torch.tensor(float(due), device=accelerator.device)
    return bool(accelerator.reduce(wanted).item())


def _save(
    checkpoints: Checkpoints,
    history: list[Step],
    previous: Tokens | None,
    seconds: float,
    named: list[tuple[str, nn.Parameter]],
    optimizer: torch.optim.Optimizer,
) -> None:
    """The first process writes; every process has random numbers of its own."""
    states = gather_object([random_state()])
    tensors = {f"{name}.{process}": state for process, found in enumerate(states) for name, state in found.items()}
    if previous is not None:
        tensors |= {"previous.nll_T": previous.nll_T.cpu(), "previous.sequence_T": previous.sequence_T.cpu()}
    tensors |= state_of(named, optimizer)
    if PartialState().is_main_process:
        checkpoints.save(Moment(len(history), [asdict(step) for step in history], seconds, tensors))
    elif checkpoints.stopping:
        raise Interrupted(f"stopped after step {len(history)}")


def _resume(
    moment: Moment, named: list[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> tuple[list[Step], Tokens | None]:
    """Puts everything back; returns the steps done, and the last one's tokens for a method that looks at them."""
    restore(moment.tensors, named, optimizer)
    of_process = f".{accelerator.process_index}"
    names = [name for name in moment.tensors if name.startswith("random.") and name.endswith(of_process)]
    set_random_state({name.removesuffix(of_process): moment.tensors[name] for name in names})
    previous = None
    if "previous.nll_T" in moment.tensors:
        nll_T, sequence_T = moment.tensors["previous.nll_T"], moment.tensors["previous.sequence_T"]
        previous = Tokens(nll_T.to(accelerator.device), sequence_T.to(accelerator.device))
    return [Step(**step) for step in moment.history], previous


def schedule(settings: Training, step: int, total: int) -> float:
    """Factor on the learning rate: linear warm-up to 1, then constant, or down to 0 linearly or along a cosine."""
    warmup = math.ceil(settings.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[
        settings.schedule
    ]


def _tokens(nll_T: Tensor, batch: Batch, method: Method, reference: Tokens | None) -> Tokens:
    tokens = Tokens(nll_T.detach(), batch.sequence_T, reference)
    alone = method.scope == "micro_batch" or (reference is None and method.scope != "token")
    return replace(tokens, reference=tokens) if alone else tokens


def _weights(method: Method, tokens: Tokens, example_weights_E: Tensor | None) -> Tensor | None:
    """Token weight times example weight, or None where both are 1 by default."""
    weights_T = method.token_weights(tokens)
    if example_weights_E is None:
        return weights_T
    of_example_T = example_weights_E.to(tokens.nll_T)[tokens.sequence_T]
    return of_example_T if weights_T is None else weights_T * of_example_T


def _reference(
    method: Method,
    losses: nn.Module,
    micro: list[Batch],
    previous: Tokens | None,
    accelerator: Accelerator,
    ahead: list[Tensor],
) -> Tokens | None:
    """The tokens that a method's batch statistics are taken from, or None where the micro-batch at hand is all of them.

    A step that is split over micro-batches or processes is measured ahead: `ahead` are its losses, if their graphs are
    kept. Else they are found without gradients and with the random state that the pass with gradients will find, so
    that dropout masks agree.
    """
    if method.scope == "previous_step" and previous is not None:
        return previous
    if method.scope in ("token", "micro_batch") or (len(micro) == 1 and accelerator.num_processes == 1):
        return None
    with torch.no_grad(), torch.random.fork_rng():
        found = ahead or [losses(batch) for batch in micro]
    measured = [Tokens(nll_T, batch.sequence_T) for nll_T, batch in zip(found, micro, strict=True) if not batch.filler]
    return _gathered(measured, accelerator)


def _keeps_graphs(method: Method, settings: Training, micro: list[Batch], accelerator: Accelerator) -> bool:
    """Whether the pass that measures a split step is the one that gradients come from, whose graphs then wait for it.

    With recomputation a graph holds little more than each layer's input, and the second pass is made in any case.
    """
    if method.scope != "step" or len(micro) == 1 or accelerator.num_processes > 1:  # DDP wants a backward pass for each
        return False
    return settings.gradient_checkpointing or sum(batch.ids_BL.numel() for batch in micro) <= settings.graph_tokens


def _gathered(parts: list[Tokens], accelerator: Accelerator) -> Tokens:
    """All processes' tokens, in the order of their sequences' numbers, so that the split leaves no trace."""
    rows = [(t.nll_T.cpu(), t.sequence_T.cpu()) for t in parts]
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    nll_T, sequence_T = (torch.cat(tensors) for tensors in zip(*rows, strict=True))
    order = sequence_T.argsort(stable=True)
    return Tokens(nll_T[order].to(accelerator.device), sequence_T[order].to(accelerator.device))


def _record(
    number: int,
    rate: float,
    loss: Tensor,
    norm: Tensor | float,
    targets: int,
    chosen: list[int],
    sequences: list[Sequence],
    seen: list[tuple[Tokens, Tensor]],
    accelerator: Accelerator,
) -> tuple[Step, Tokens]:
    """Sums up a step over processes; a loss or gradient that is not finite stops the run."""
    tokens = _gathered([t for t, _ in seen], accelerator)
    weight = sum((w.sum() for _, w in seen), torch.zeros((), device=accelerator.device))
    loss, weight = accelerator.reduce(loss), accelerator.reduce(weight)
    if not (math.isfinite(loss.item()) and math.isfinite(norm)):
        names = ", ".join(sequences[n].id for n in chosen)
        raise UserError(
            f"step {number}: the loss is {loss.item()} and its gradient's norm {float(norm)}; lower the learning rate "
            f"or look at examples {names}"
        )
    step = Step(
        step=number,
        loss=loss.item(),
        nll=tokens.nll_T.mean().item(),
        mean_weight=weight.item() / targets,
        gradient_norm=float(norm),
        learning_rate=rate,
        tokens=sum(len(sequences[n].ids) for n in chosen),
        supervised_tokens=targets,
    )
    return step, tokens


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
