"""The parts of a model that this project touches: the text decoder, its embeddings and its head.

Only these are trained, counted and stored. What else a model has (a vision tower, say) stays as it is, and an export
has it whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, DynamicLayer
from transformers.pytorch_utils import Conv1D


def text_decoder(model: nn.Module) -> Any:
    """The module that maps token ids to last hidden states."""
    # `nn.Module` does not declare what models of transformers have.
    known: Any = model
    found: list[Any] = [known.get_decoder(), known.base_model, getattr(model, "model", None)]
    decoder = next(m for m in found if hasattr(m, "get_output_embeddings") and m is not model)  # some give their head
    return text_decoder(decoder) if decoder.get_output_embeddings() is not None else decoder


def text_config(model: nn.Module) -> Any:
    """The configuration of the text decoder."""
    known: Any = model
    return known.config.get_text_config(decoder=True)


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of the text decoder, first to last."""
    count = text_config(model).num_hidden_layers
    lists = [m for m in text_decoder(model).modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return list(lists[0]) if lists else []


def text_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the decoder, the embeddings and the head by name; a tied tensor once, under its first name."""
    known: Any = model
    modules = (text_decoder(model), known.get_input_embeddings(), known.get_output_embeddings())
    theirs = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in theirs}


def gradient_as_rows(model: nn.Module) -> None:
    """Lets an embedding that is tied to the head add the gradients of its rows to the head's.

    The head's gradient is there first and dense, so the sum is too, which is what optimizers take.
    """
    known: Any = model
    embedding, head = known.get_input_embeddings(), known.get_output_embeddings()
    if embedding.weight is head.weight and isinstance(embedding, nn.Embedding):
        embedding.sparse = True


def freeze_rest(model: nn.Module) -> None:
    """Lets gradients flow into the text's parameters alone."""
    theirs = set(text_parameters(model))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in theirs)


@dataclass(frozen=True)
class Head:
    """From last hidden states to logits, as the model itself does it.

    Attributes:
        projection: Maps [*, D] to [*, V]; its weight may be tied or frozen.
        scale: Factor on the projection's output (Granite, Cohere, Falcon-H1).
        cap: c of c tanh(logits / c) (Gemma 2), or None.
    """

    projection: nn.Module
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, model: nn.Module) -> Head:
        """The head of a causal language model of transformers, by its configuration; `probe` checks it."""
        known: Any = model
        config = text_config(model)
        scale = 1.0
        for name in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
            scale *= getattr(config, name, None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        return cls(known.get_output_embeddings(), scale, getattr(config, "final_logit_softcapping", None))

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits, float32, [*, V]."""
        logits = self.projection(hidden).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.cap is not None:
            logits = self.cap * torch.tanh(logits / self.cap)
        return logits


def linear_weights(model: nn.Module) -> tuple[dict[str, nn.Parameter], set[str]]:
    """The decoder's weights that multiply tokens, and the last names of its other weights of two or more dimensions.

    A weight is a matrix of a linear layer or three-dimensional, one matrix for each expert.
    """
    decoder, tables = text_decoder(model), _tables(model)
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    weights: dict[str, nn.Parameter] = {}
    others = set()
    for path, module in decoder.named_modules(prefix=prefix):
        linear = isinstance(module, nn.Linear | Conv1D)
        experts = not linear and not type(module).__module__.startswith("torch.nn")
        for name, parameter in module.named_parameters(prefix=path, recurse=False):
            if id(parameter) in tables or parameter.ndim < 2:
                continue
            if (linear and parameter.ndim == 2) or (experts and parameter.ndim == 3):
                weights[name] = parameter
            else:
                others.add(".".join(name.rsplit(".", 2)[-2:]))
    return weights, others


def has_experts(model: nn.Module) -> bool:
    """Whether tokens go to some of several experts."""
    return any(weight.ndim == 3 for weight in linear_weights(model)[0].values())


def shares_openings(model: nn.Module) -> bool:
    """Whether rows that begin alike may have their opening read once, which changes losses and gradients by rounding.

    So it is where every layer attends to all tokens before, keeps keys and values alone, and draws nothing at random.
    """
    config = text_config(model)
    layers = DynamicCache(config=config).layers
    attends = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
    windowed = getattr(config, "window_size", None) is not None  # GPT-Neo's, of which the cache knows nothing
    dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    random = dropout or getattr(config, "attention_dropout", 0) > 0
    return attends and not windowed and not random and not has_experts(model)


def adaptable_weights(model: nn.Module) -> tuple[dict[str, nn.Parameter], set[str]]:
    """As `linear_weights`, without those to which an adapter could not be added, or where it would not act.

    These are linear layers that compute something else, such as routers, and the last one of a state-space mixer, which
    fused kernels read past its module.
    """
    weights, others = linear_weights(model)
    for path, module in model.named_modules():
        names = []
        if isinstance(module, nn.Linear) and not _is_linear(module):
            names.append(f"{path}.weight")
        if hasattr(module, "A_log") and hasattr(module, "D"):
            names.append(f"{path}.out_proj.weight")
        for name in names:
            if weights.pop(name, None) is not None:
                others.add(".".join(name.split(".")[-2:]))
    return weights, others


@torch.no_grad()
def _is_linear(module: nn.Linear) -> bool:
    """Whether a layer gives x W^T + b and nothing else, tried where its class has a forward pass of its own."""
    if type(module).forward is nn.Linear.forward:
        return True
    weight = module.weight
    x = torch.linspace(-1, 1, module.in_features, dtype=weight.dtype, device=weight.device)[None, None]
    try:
        found = module(x)
    except Exception:  # a router may want other arguments
        return False
    return isinstance(found, Tensor) and torch.allclose(found, nn.functional.linear(x, weight, module.bias), rtol=1e-3)


def without_config(model: nn.Module) -> nn.Module:
    """The model's children in a plain module, for a library that treats a model by its configuration."""
    bare = nn.Module()
    for name, child in model.named_children():
        bare.add_module(name, child)
    return bare


def _tables(model: nn.Module) -> set[int]:
    """The embedding and the head, which are one tensor where they are tied."""
    known: Any = model
    return {id(module.weight) for module in (known.get_input_embeddings(), known.get_output_embeddings())}
