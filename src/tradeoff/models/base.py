"""An imported base model: its folder, its parameters by name, and a run's result on top of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tradeoff import methods
from tradeoff.models.chat import Chat, Settings
from tradeoff.models.delta import DELTA, Delta
from tradeoff.provenance import CARD, checked, read_json

MODEL = "model"  # in a base's folder, beside its card: the model under its own names
ORIGINAL = "original"  # in that: the source's small files as they were, for an export
REST = "rest.safetensors"  # in that: weights of the source that transformers does not load
WEIGHTS = "model.safetensors"


def load_base(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A base model in float32, or in another precision, on the CPU, in evaluation mode."""
    place = _imported(folder)
    cls = model_class(AutoConfig.from_pretrained(place, trust_remote_code=False))
    model = cls.from_pretrained(place, trust_remote_code=False, dtype=dtype, use_safetensors=True)
    # Else the padding token's embedding gets no gradient, and padding is often the end token: lengths mask padding.
    model.get_input_embeddings().padding_idx = None
    return model


def load_chat(folder: Path) -> Chat:
    """How a base model is talked to, as its import found."""
    tokenizer = AutoTokenizer.from_pretrained(_imported(folder), trust_remote_code=False)
    known = read_json(folder / CARD)["chat"]
    settings = Settings(arguments=known["arguments"], response_prefix=known["response_prefix"], date=known["date"])
    return Chat(padded(tokenizer), settings, frozenset(known["stops"]), folder.name)


def load_parameters(folder: Path) -> dict[str, Tensor]:
    """The parameters that can be trained, in float32, by the model's own names."""
    rest = tuple(read_json(folder / CARD)["not_trained"])
    with safe_open(weights_file(folder), "pt") as file:
        return {name: file.get_tensor(name).float() for name in file.keys() if not name.startswith(rest)}  # noqa: SIM118


def context(folder: Path) -> int | None:
    """The most tokens that a base model reads at once, None where it has no limit."""
    limit: int | None = read_json(folder / CARD)["context"]
    return limit


def load_result(base: Path, run: Path | None) -> PreTrainedModel:
    """The model that a run made: base + delta, in float32; without a run, the base."""
    model = load_base(base)
    if run is not None:
        load_delta(run).add_to(model)
    return model


def weights_file(folder: Path) -> Path:
    """A base's weights by name."""
    return _imported(folder) / WEIGHTS


def load_delta(run: Path) -> Delta:
    """The difference that a run made; a derived run's is formed from its source's."""
    card = read_json(run / CARD)
    if "derived_from" in card:
        return methods.build(card["spec"]["method"]).finish(load_delta(run / card["derived_from"]))
    return Delta.load(checked(run / DELTA, run / CARD, card["delta_sha256"]))


def model_class(config: Any) -> Any:
    """The class that a model's configuration names if it has parts beside its text, else the text model's."""
    named = getattr(transformers, (config.architectures or [""])[0], None)
    return named if config.get_text_config() is not config and named is not None else AutoModelForCausalLM


def padded(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The same; a missing padding token is the end token."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@cache
def _imported(folder: Path) -> Path:
    """The model in a base's folder, once every file of it was seen to be as it was imported."""
    card = folder / CARD
    for name, sha256 in read_json(card)["files"].items():
        checked(folder / MODEL / name, card, sha256)
    return folder / MODEL
