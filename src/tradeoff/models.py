"""Base models by name and revision, a result as base + delta, and the one place for device and precision.

Why a delta: at a learning rate of 1e-6 most updates are smaller than half a bfloat16 step of the weight that they
change, so a model saved in bfloat16 has lost them, while the difference itself keeps them at half the size of a float32
checkpoint. Differences are formed, stored and applied here and nowhere else, always added in float32.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tradeoff import methods
from tradeoff.errors import UserError, command, one_line
from tradeoff.provenance import CARD, canonical_json, checked, read_json, sha256_file, write_json, write_whole
from tradeoff.sources import package_file
from tradeoff.training.sharding import whole

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MODEL = "model"  # in a base's folder, beside its card: the model as an ordinary folder
WEIGHTS = "model.safetensors"
DELTA = "delta.safetensors"


def device() -> torch.device:
    """The first GPU that is visible, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(precision: str, device_type: str) -> torch.autocast:
    """Autocast to a precision; float32 is none."""
    return torch.autocast(device_type, DTYPES[precision], enabled=precision != "float32")


# --- base models ----------------------------------------------------------------------------------------------------


def import_base(source: str, revision: str | None, folder: Path) -> dict[str, Any]:
    """Writes a base model as an ordinary folder (safetensors, tokenizer), `model` in a base's, and returns its card.

    Weights that come quantised in a GGUF file are written in float32; others keep their stored dtype, which float32
    represents exactly when the model is loaded.

    Args:
        source: `package:<python package>/<file>.gguf`, `hub:<owner>/<name>` or `folder:<path>`.
        revision: Commit of a hub model.
        folder: The base's.

    Raises:
        UserError: the source cannot be had.
    """
    kind, place = source.split(":", 1)
    model = _from_source(AutoModelForCausalLM, source, revision, use_safetensors=True)
    tokenizer = source_tokenizer(source, revision)
    if kind == "package":
        origin = sha256_file(package_file(place))
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
    else:
        origin = _folder_sha256(Path(place)) if kind == "folder" else str(revision)
    aside = folder / ".import"
    shutil.rmtree(aside, ignore_errors=True)  # of an import that was killed
    model.save_pretrained(aside, max_shard_size="1TB")
    tokenizer.save_pretrained(aside)
    files = {str(f.relative_to(aside)): sha256_file(f) for f in sorted(aside.rglob("*")) if f.is_file()}
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    aside.replace(folder / MODEL)
    return {
        "source": source,
        "revision": revision,
        "source_sha256": origin,
        "sha256": files[WEIGHTS],
        "files": files,
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": model.num_parameters(),
    }


def load_base(folder: Path) -> PreTrainedModel:
    """A base model in float32 on the CPU, in evaluation mode."""
    model = _from_folder(AutoModelForCausalLM, folder, dtype=torch.float32, use_safetensors=True)
    # Else the padding token's embedding gets no gradient, and padding is often the end token: lengths mask padding.
    model.get_input_embeddings().padding_idx = None
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A base model's tokenizer, which pads on the right; a missing padding token is the end token."""
    return _padded(_from_folder(AutoTokenizer, folder))


def _padded(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def source_tokenizer(source: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a source, without its weights; see `import_base`."""
    return _padded(_from_source(AutoTokenizer, source, revision))


def load_parameters(folder: Path) -> dict[str, Tensor]:
    """A base model's parameters in float32 by name, mapped from its file where it is in float32."""
    return {name: tensor.float() for name, tensor in load_file(_imported(folder) / WEIGHTS).items()}


def load_result(base: Path, run: Path | None) -> PreTrainedModel:
    """The model that a run made: base + delta, in float32; without a run, the base."""
    model = load_base(base)
    if run is not None:
        load_delta(run).add_to(model)
    return model


def _from_folder(cls: Any, folder: Path, **options: Any) -> Any:
    return cls.from_pretrained(_imported(folder), trust_remote_code=False, **options)


@cache
def _imported(folder: Path) -> Path:
    """The model in a base's folder, once every file of it was seen to be as it was imported."""
    card = folder / CARD
    for name, sha256 in read_json(card)["files"].items():
        checked(folder / MODEL / name, card, sha256)
    return folder / MODEL


def _from_source(cls: Any, source: str, revision: str | None, **options: Any) -> Any:
    """What `cls` makes of a source; a model that is quantised in a GGUF file is unpacked to float32."""
    kind, place = source.split(":", 1)
    where: Path | str = place
    if kind == "package":
        file = package_file(place)
        where = file.parent
        options["gguf_file"] = file.name
    if "use_safetensors" in options:
        options["dtype"] = torch.float32 if kind == "package" else "auto"
    try:
        return cls.from_pretrained(where, revision=revision or "main", trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{source}: cannot be loaded ({one_line(error)}); check the source, the revision and the network; "
            "weights have to be safetensors, and code that comes with a model is not run"
        ) from None


def _folder_sha256(folder: Path) -> str:
    return ",".join(sha256_file(file) for file in sorted(folder.glob("*.safetensors")))


# --- results --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LowRank:
    """A difference B A of rank r.

    Attributes:
        A: [r, in].
        B: [out, r], any scale included.
    """

    A: Tensor
    B: Tensor

    def dense(self) -> Tensor:
        """The difference itself, [out, in]."""
        return self.B.float() @ self.A.float()


@dataclass(frozen=True)
class Delta:
    """A trained model minus its base, by parameter name; a parameter that is absent did not change.

    Attributes:
        dense: Differences as tensors.
        factors: Differences as low-rank factors.
    """

    dense: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Mapping[str, LowRank] = field(default_factory=dict)

    @classmethod
    def between(cls, model: torch.nn.Module, base: Mapping[str, Tensor]) -> Delta:
        """Trained parameters minus the base's; a parameter that the base lacks (an adapter's) as it is."""
        trained = {name: whole(p.detach()).float().cpu() for name, p in model.named_parameters() if p.requires_grad}
        return cls({name: p - base[name] if name in base else p for name, p in trained.items()})

    def scaled(self, factor: float) -> Delta:
        """The difference times a factor, in float32."""
        return Delta(
            {name: factor * tensor.float() for name, tensor in self.dense.items()},
            {name: LowRank(low.A, factor * low.B.float()) for name, low in self.factors.items()},
        )

    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        """Each parameter's difference in float32, formed when called."""
        return {
            **{name: tensor.float for name, tensor in self.dense.items()},
            **{name: low.dense for name, low in self.factors.items()},
        }

    @torch.no_grad()
    def add_to(self, model: torch.nn.Module) -> None:
        """Turns the base into the trained model, in place and in the model's float32."""
        parameters = dict(model.named_parameters())
        for name, difference in self.tensors().items():
            assert parameters[name].dtype == torch.float32, "a difference is added in float32 only"
            parameters[name].add_(difference().to(parameters[name].device))

    def statistics(self, base: Mapping[str, Tensor]) -> dict[str, float]:
        """How far the update went, and how much of it a bfloat16 export would keep.

        Returns:
            delta_norm: Euclidean norm over all parameters.
            share_moved: Share of the base's weights that changed in float32.
            share_kept_bfloat16: Share of the base's weights that still differ once both are rounded to bfloat16.
        """
        squares = moved = kept = 0.0
        for name, difference in self.tensors().items():
            delta, start = difference(), base[name]
            end = start + delta
            squares += torch.linalg.vector_norm(delta, dtype=torch.float64).item() ** 2
            moved += (end != start).sum().item()
            kept += (end.bfloat16() != start.bfloat16()).sum().item()
        total = sum(tensor.numel() for tensor in base.values())
        return {"delta_norm": squares**0.5, "share_moved": moved / total, "share_kept_bfloat16": kept / total}

    def save(self, path: Path) -> None:
        """Dense differences in bfloat16 (relative error at most 2^-9), factors in float32."""
        tensors = {name: tensor.bfloat16().contiguous() for name, tensor in self.dense.items()}
        for name, low in self.factors.items():
            tensors[f"{name}:A"], tensors[f"{name}:B"] = low.A.float().contiguous(), low.B.float().contiguous()
        write_whole(path, lambda aside: save_file(tensors, aside))

    @classmethod
    def load(cls, path: Path) -> Delta:
        """Reads what `save` wrote.

        Raises:
            UserError: the file is missing or not whole.
        """
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise UserError(f"{path}: not a whole delta ({error}); delete it and run again") from None
        names = {name.removesuffix(":A") for name in tensors if name.endswith(":A")}
        factors = {name: LowRank(tensors.pop(f"{name}:A"), tensors.pop(f"{name}:B")) for name in sorted(names)}
        return cls(tensors, factors)


def load_delta(run: Path) -> Delta:
    """The difference that a run made; a derived run's is formed from its source's."""
    card = read_json(run / CARD)
    if "derived_from" in card:
        return methods.build(card["spec"]["method"]).finish(load_delta(run / card["derived_from"]))
    return Delta.load(checked(run / DELTA, run / CARD, card["delta_sha256"]))


def main() -> None:
    """`python -m tradeoff.models SOURCE FOLDER` imports a base model."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.models", description="Import a base model.")
    parser.add_argument("source")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--revision")
    arguments = parser.parse_args()
    card = import_base(arguments.source, arguments.revision, arguments.folder)
    write_json(arguments.folder / CARD, card)
    print(canonical_json(card))


if __name__ == "__main__":
    command(main)
