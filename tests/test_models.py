"""Base models: what is imported, and what is refused since reading it could run code."""

import json
import pickle

import pytest
import tiny
import torch

from tradeoff.errors import UserError
from tradeoff.models.base import MODEL, load_base, load_chat
from tradeoff.models.import_base import import_base
from tradeoff.provenance import CARD, read_json, sha256_file, write_json

CODE = """
import pathlib
pathlib.Path(r"{mark}").write_text("ran")
from transformers import LlamaConfig as Config, LlamaForCausalLM as Model
"""


@pytest.fixture
def source(tmp_path):
    """A folder with a model and its tokenizer."""
    folder = tmp_path / "source"
    tiny.model().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def refused(source, folder):
    with pytest.raises(UserError, match=r"\Afolder:[^\n]*: cannot be loaded [^\n]*; [^\n]*\Z") as told:
        import_base(f"folder:{source}", None, folder)
    return str(told.value)


def test_the_card_has_the_hash_of_every_file(tiny_base):
    card = read_json(tiny_base / CARD)
    model = tiny_base / MODEL
    names = {str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert card["files"] == {name: sha256_file(tiny_base / MODEL / name) for name in names}
    assert card["sha256"] == card["files"]["model.safetensors"]


def test_weights_in_a_pickle_are_not_read(source, tmp_path):
    mark = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (mark.write_text, ("ran",))

    (source / "model.safetensors").unlink()
    with (source / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Bomb(), file)
    assert "safetensors" in refused(source, tmp_path / "base")
    torch.save(tiny.model().state_dict(), source / "pytorch_model.bin")
    assert "safetensors" in refused(source, tmp_path / "base")
    assert not mark.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_not_run(source, tmp_path, file):
    mark = tmp_path / "ran"
    (source / "theirs.py").write_text(CODE.format(mark=mark))
    config = read_json(source / file)
    config["model_type" if file == "config.json" else "tokenizer_class"] = "Theirs"
    config["auto_map"] = {
        "AutoConfig": "theirs.Config",
        "AutoModelForCausalLM": "theirs.Model",
        "AutoTokenizer": ["theirs.Model", "theirs.Model"],
    }
    (source / file).write_text(json.dumps(config))
    refused(source, tmp_path / "base")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_base_that_was_changed_since_is_not_loaded(source, tmp_path, name):
    base = tmp_path / "base"
    write_json(base / CARD, import_base(f"folder:{source}", None, base))
    content = (base / MODEL / name).read_bytes()
    (base / MODEL / name).write_bytes(content.replace(b"a", b"b", 1) + b" ")
    for load in (load_base, load_chat):
        with pytest.raises((UserError, FileNotFoundError)):
            load(base)
    assert not (base / CARD).exists()
