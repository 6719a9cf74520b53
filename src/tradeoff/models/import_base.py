"""Imports a base model: safetensors under the model's own names, its tokenizer, and a card of what was found.

What cannot be handled is refused here, in one line and before anything is trained: weights that are missing or not
used, checkpoints that are quantised, templates whose responses cannot be told apart, models that `probe` finds computed
wrongly.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache, reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from tradeoff.errors import UserError, command, one_line, shown
from tradeoff.models.base import MODEL, ORIGINAL, REST, WEIGHTS, model_class, padded
from tradeoff.models.chat import Chat, Settings, read_template
from tradeoff.models.parts import text_config, text_decoder, text_parameters
from tradeoff.models.probe import probe
from tradeoff.provenance import CARD, canonical_json, sha256_file, sha256_text, write_json
from tradeoff.sources import package_file

SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")  # files beside the weights
POINTER = b"version https://git-lfs"
SHOWN = 4  # names in a message
FLOATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float32}  # of safetensors


def import_base(
    source: str, revision: str | None, folder: Path, settings: Settings | None = None, name: str | None = None
) -> dict[str, Any]:
    """Writes a base model into a folder, `model` in a base's, and returns its card.

    Weights that come quantised in a GGUF file are written in float32; others keep their stored dtype (of several, the
    one that represents all exactly), whatever the configuration says; float32 represents it exactly when the model is
    loaded.

    Args:
        source: `package:<python package>/<file>.gguf`, `hub:<owner>/<name>` or `folder:<path>`.
        revision: Commit of a hub model.
        folder: The base's.
        settings: How the model is to be prompted, if not as it comes.
        name: Of the model in the study, for messages.

    Raises:
        UserError: the source cannot be had, or the model cannot be handled.
    """
    place, options = _located(source, revision)
    chat = source_chat(source, revision, settings or Settings(), name)
    sample = chat.describe()
    model = _model(source, place, options)
    _check_sizes(source, model, chat)
    _check_values(source, model, place if not options else None)
    with _in_float32(model):  # as it is trained; its own rounding would hide what is computed otherwise
        probed = probe(model, chat)
    aside = folder / ".import"
    shutil.rmtree(aside, ignore_errors=True)  # of an import that was killed
    # What the source says may be no valid file; and other programs stop where this one does.
    model.generation_config = GenerationConfig(eos_token_id=sorted(chat.ends))
    model.save_pretrained(aside, max_shard_size="1TB", save_original_format=False)
    chat.tokenizer.save_pretrained(aside)
    names = _check_names(aside / WEIGHTS, model)
    if not options:
        _keep_original(place, aside, model)
    files = {str(f.relative_to(aside)): sha256_file(f) for f in sorted(aside.rglob("*")) if f.is_file()}
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    aside.replace(folder / MODEL)
    trained = text_parameters(model)
    read: dict[str, Any] = {  # what an evaluation or a training reads of it
        "files": {name: sha256 for name, sha256 in files.items() if not name.startswith(f"{ORIGINAL}/")},
        "chat": {**chat.identity, "stops": sorted(chat.stops)},
        "context": _context(text_config(model)),
        "hard_context": _has_table_of_positions(model) or _scaled_by_length(text_config(model)),
    }
    return {
        "source": source,
        "revision": revision,
        "source_sha256": _origin(source, revision, place),
        "sha256": sha256_text(canonical_json(read)),
        "files": files,
        "dtype": str(model.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in trained.values()),
        "not_trained": _prefixes(names - set(trained), set(trained)),
        "context": read["context"],
        "hard_context": read["hard_context"],
        "chat": {**read["chat"], "sample": sample},
        "probe": probed,
    }


@cache
def source_context(source: str, revision: str | None) -> int | None:
    """The most tokens that a source's model reads at once, without its weights; see `import_base`."""
    place, options = _located(source, revision, weights=False)
    with _loading(source):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, **options)
    return _context(config.get_text_config(decoder=True))


def source_chat(source: str, revision: str | None, settings: Settings, name: str | None = None) -> Chat:
    """How a source is talked to, without its weights; see `import_base`."""
    place, options = _located(source, revision, weights=False)
    with _loading(source):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)
        ends = _declared_ends(place, options, len(tokenizer))
    if settings.template is not None:
        tokenizer.chat_template = settings.template
    if isinstance(tokenizer.chat_template, dict):  # several, by name
        if "default" not in tokenizer.chat_template:
            raise UserError(
                f"{source}: has chat templates named {', '.join(sorted(tokenizer.chat_template))} and no default; add "
                "chat_template: <a file> with one of them"
            )
        tokenizer.chat_template = tokenizer.chat_template["default"]
    chat = Chat(padded(tokenizer), settings, ends, name or source.rpartition("/")[2])
    if not chat.ends:
        raise UserError(
            f"{source}: neither the tokenizer nor the generation config names an end token; add one to them"
        )
    return chat


def bring(source: str, revision: str | None) -> Path:
    """The folder of a source's files, downloaded if they come from the hub; see `import_base`."""
    return _located(source, revision)[0]


# --- reading a source -----------------------------------------------------------------------------------------------


def _located(source: str, revision: str | None, weights: bool = True) -> tuple[Path, dict[str, Any]]:
    """The folder that a source lies in, downloaded if it comes from the hub, and options for reading a GGUF file."""
    kind, where = source.split(":", 1)
    if kind == "package":
        file = package_file(where)
        return file.parent, {"gguf_file": file.name}
    if kind == "hub":
        folder = _downloaded(where, revision, weights)
        _check_adapter(source, folder)
        return folder, {}
    folder = Path(where)
    if not folder.is_dir():
        raise UserError(f"{source}: there is no such folder; paths start at the working folder")
    _check_adapter(source, folder)
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json", ".model") and file.is_file():
            with file.open("rb") as content:
                if content.read(len(POINTER)) == POINTER:
                    raise UserError(
                        f"{file}: is a git-lfs pointer and not the file itself; run git lfs pull in {folder}"
                    )
    return folder, {}


def _downloaded(repository: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [*SMALL, *(["*.safetensors"] if weights else [])]
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*", "consolidated*"]
            )
        )
    except Exception as error:  # the hub's client raises many kinds, all of them a bad day
        raise UserError(
            f"hub:{repository}: cannot be had ({one_line(error)}); check the name, the revision, the network and, of a "
            "gated model, that you accepted its licence and are logged in"
        ) from None


def _model(source: str, place: Path, options: dict[str, Any]) -> PreTrainedModel:
    """The model of a source, once its loading report is clean.

    Raises:
        UserError: it cannot be loaded, or its file and its architecture name different weights.
    """
    with _loading(source):
        cls = AutoModelForCausalLM if options else model_class(_trainable_config(source, place))
        model, report = cls.from_pretrained(
            place,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32 if options else _stored_dtype(place),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report
            **options,
        )
    _check_report(source, report)
    if options:
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
    # Left on by those who trained with it; the router's loss is no part of a method here.
    for config in (model.config, text_config(model)):
        if getattr(config, "output_router_logits", False):
            config.output_router_logits = False
    return model


def _stored_dtype(place: Path) -> torch.dtype | str:
    """The precision that represents every stored weight exactly, float32 at most; a configuration may say another."""
    stored = {content.get_slice(name).get_dtype() for name, content in _stored(place)}
    found = [FLOATS[name] for name in sorted(stored & set(FLOATS))]
    return reduce(torch.promote_types, found) if found else "auto"


@contextmanager
def _in_float32(model: PreTrainedModel) -> Iterator[None]:
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.dtype in (torch.bfloat16, torch.float16)]
    dtypes = [tensor.dtype for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.float()
    yield
    for tensor, dtype in zip(tensors, dtypes, strict=True):
        tensor.data = tensor.data.to(dtype)


def _trainable_config(source: str, place: Path) -> Any:
    """The configuration of a model that can be trained."""
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise UserError(f"{source}: is an encoder-decoder; choose a causal language model")
    if quantised := getattr(config, "quantization_config", None):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        raise UserError(
            f"{source}: its weights are quantised ({method}) and cannot be trained; name a copy in bfloat16 or float32"
        )
    return config


@contextmanager
def _loading(source: str) -> Iterator[None]:
    """Turns what loading raises into one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{source}: cannot be loaded ({one_line(error)}); check the source, the revision and the network; "
            "weights have to be safetensors, and code that comes with a model is not run"
        ) from None


def _declared_ends(place: Path, options: dict[str, Any], tokens: int) -> frozenset[int]:
    """The end tokens of a model's generation config or else of its configuration; a GGUF's are the tokenizer's.

    Ids beyond the tokenizer's are left out: none of them is ever written.

    Raises:
        ValueError: what stands there is neither an id nor a list of ids.
    """
    if options:
        return frozenset()
    if (place / "generation_config.json").is_file():
        found = GenerationConfig.from_pretrained(place).eos_token_id
    else:
        found = AutoConfig.from_pretrained(place, trust_remote_code=False).get_text_config().eos_token_id
    ends = found if isinstance(found, list) else [found] if found is not None else []
    if any(type(end) is not int for end in ends):
        raise ValueError(f"eos_token_id is {shown(found)} and has to be a token id or a list of them")
    return frozenset(end for end in ends if 0 <= end < tokens)


def _check_adapter(source: str, folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{source}: holds an adapter (adapter_config.json); merge it into its base model first "
            "(peft's merge_and_unload) and name the merged model"
        )


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_report(source: str, report: dict[str, Any]) -> None:
    missing, unused = (sorted(map(str, report[key])) for key in ("missing_keys", "unexpected_keys"))
    other = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    faults = [
        _several(names, what)
        for what, names in (
            ("weights are missing", missing),
            ("weights are of no use to it", unused),
            ("weights have another shape", other),
        )
        if names
    ]
    if faults:
        raise UserError(
            f"{source}: its files and its architecture do not fit: {'; '.join(faults)}; complete the files, or rename "
            "the weights (a prefix such as `module.` or `_orig_mod.` is left by other tools)"
        )


def _check_sizes(source: str, model: PreTrainedModel, chat: Chat) -> None:
    rows, longest = len(model.get_input_embeddings().weight), len(chat.tokenizer)
    if longest > rows:
        raise UserError(
            f"{source}: the tokenizer has {longest} tokens and the embedding {rows} rows; name a tokenizer and a model "
            "that belong together"
        )


def _check_values(source: str, model: PreTrainedModel, place: Path | None) -> None:
    """Refuses weights that are not finite, and weights that are not those of the files once they are loaded.

    Args:
        source: Of the model.
        model: As it was loaded.
        place: The folder of the files, None for a GGUF file, whose weights are unpacked.
    """
    loaded = revert_weight_conversion(model, model.state_dict())
    stored = _stored(place) if place is not None else ()
    faults: dict[str, list[str]] = {"are not finite": [], "are others than in the files once they are loaded": []}
    not_finite, changed = faults.values()
    for name, content in stored:
        tensor, own = content.get_tensor(name), loaded.get(name)
        if tensor.is_floating_point() and not tensor.isfinite().all():
            not_finite.append(name)
        elif own is not None and (own.shape != tensor.shape or not torch.equal(own, tensor.to(own.dtype))):
            changed.append(name)
    not_finite += [name for name, own in loaded.items() if place is None and not own.isfinite().all()]
    for what, names in faults.items():
        if names:
            raise UserError(f"{source}: {_several(names, f'weights {what}')}; name another copy of the model")


def _several(names: list[str], what: str) -> str:
    return f"{len(names)} {what} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"


def _check_names(file: Path, model: PreTrainedModel) -> set[str]:
    """The names in a written file, which have to be the model's own."""
    with safe_open(file, "pt") as content:
        names = set(content.keys())
    lacking = {name for name, _ in model.named_parameters()} - names
    if lacking:
        raise UserError(f"{file.name}: lacks {', '.join(sorted(lacking)[:SHOWN])}; this kind of model cannot be stored")
    return names


def _prefixes(others: set[str], trained: set[str]) -> list[str]:
    """The shortest beginnings, up to a dot, that all of some names have and none of the trained ones."""
    found = set()
    for name in others:
        parts = name.split(".")
        beginnings = (".".join(parts[:n]) + ("." if n < len(parts) else "") for n in range(1, len(parts) + 1))
        found.add(next((b for b in beginnings if not any(t.startswith(b) for t in trained)), name))
    return sorted(found)


def _context(config: Any) -> int | None:
    """The most tokens that are read alike whatever shares their batch.

    Phi's longrope turns all positions of a batch otherwise once one of its texts is longer than the original context.
    """
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    ropes = [rope for rope in _ropes(config) if rope["rope_type"] == "longrope"]
    original = [rope.get("original_max_position_embeddings") for rope in ropes]
    original += [getattr(config, "original_max_position_embeddings", None)] if ropes else []
    limits = [int(known) for known in (limit, *original) if known]
    return min(limits, default=None)


def _scaled_by_length(config: Any) -> bool:
    """Whether positions beyond the context change how all texts of a batch are read."""
    return any(rope["rope_type"] in ("longrope", "dynamic") for rope in _ropes(config))


def _ropes(config: Any) -> list[dict[str, Any]]:
    """The parameters of rotary positions, of which kinds of layers may have their own."""
    found = getattr(config, "rope_parameters", None) or {}
    return [rope for rope in (found, *found.values()) if isinstance(rope, dict) and "rope_type" in rope]


def _has_table_of_positions(model: PreTrainedModel) -> bool:
    """Whether positions are looked up in a table, learned or not, beyond whose end nothing can be read."""
    words, decoder = model.get_input_embeddings(), text_decoder(model)
    tables = [m.weight for m in decoder.modules() if isinstance(m, torch.nn.Embedding) and m is not words]
    tables += [buffer for buffer in decoder.buffers() if buffer.ndim == 2]
    limit = _context(text_config(model)) or 0
    return any(limit <= len(table) <= limit + 2 for table in tables) and limit > 0


# --- what an export needs -------------------------------------------------------------------------------------------


def _keep_original(place: Path, aside: Path, model: PreTrainedModel) -> None:
    """Copies a source's small files, and its weights that transformers leaves out, such as those of draft heads."""
    (aside / ORIGINAL).mkdir()
    for file in sorted(place.iterdir()):
        if file.is_file() and any(fnmatch(file.name, kind) for kind in SMALL) and not file.name.endswith(".index.json"):
            shutil.copyfile(file, aside / ORIGINAL / file.name)
    ignored = re.compile("|".join(model._keys_to_ignore_on_load_unexpected or ["(?!)"]))
    used, tensors = set(model.state_dict()), {}
    for name, content in _stored(place):
        if ignored.search(name) and name not in used:
            tensors[name] = content.get_tensor(name)
    if tensors:
        save_file(tensors, aside / REST, {"format": "pt"})


def _stored(place: Path) -> Iterator[tuple[str, Any]]:
    """The name of every tensor of a source, and the open file that holds it."""
    for file in sorted(place.glob("*.safetensors")):
        with safe_open(file, "pt") as content:
            yield from ((name, content) for name in content.keys())  # noqa: SIM118


def _origin(source: str, revision: str | None, place: Path) -> str:
    """What the weights are known by."""
    kind, where = source.split(":", 1)
    if kind == "package":
        return sha256_file(package_file(where))
    if kind == "hub":
        return str(revision)
    return ",".join(sha256_file(file) for file in sorted(place.glob("*.safetensors")))


def main() -> None:
    """`python -m tradeoff.models.import_base SPEC FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.models.import_base", description="Import a base model.")
    parser.add_argument("spec", type=json.loads, help="JSON of Study.model_spec")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--template", type=Path, help="chat template in place of the model's own")
    a = parser.parse_args()
    settings = Settings(
        template=None if a.template is None else read_template(a.template),
        arguments=a.spec["chat_template"] if a.template is None and a.spec["chat_template"] else {},
        response_prefix=a.spec["response_prefix"],
        date=a.spec["date"],
    )
    card = import_base(a.spec["source"], a.spec["revision"], a.folder, settings, a.folder.name)
    write_json(a.folder / CARD, card)
    print(canonical_json(card))


if __name__ == "__main__":
    command(main)
