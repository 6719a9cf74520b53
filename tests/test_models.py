"""Base models: what is imported, and what is refused since reading it could run code."""

import json
import math
import pickle
import re

import families
import pytest
import templates
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPTJConfig,
    GPTJForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from tradeoff.errors import UserError
from tradeoff.models import import_base as importing
from tradeoff.models import parts
from tradeoff.models.base import MODEL, ORIGINAL, WEIGHTS, load_base, load_chat
from tradeoff.models.chat import Settings, read_template
from tradeoff.models.import_base import import_base
from tradeoff.models.resident import Resident
from tradeoff.provenance import CARD, read_json, sha256_file, write_json
from tradeoff.training.flops import Work

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


# What cannot be handled, in one line and before anything is trained


def rewritten(source, change):
    """The source's weights under other names, or fewer of them."""
    tensors = change(load_file(source / WEIGHTS))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, source / WEIGHTS, {"format": "pt"})


def imported(source, folder):
    card = import_base(f"folder:{source}", None, folder)
    write_json(folder / CARD, card)
    return card


def told(source, folder, **options):
    with pytest.raises(UserError) as error:
        import_base(f"folder:{source}", None, folder, **options)
    line = str(error.value)
    assert "\n" not in line
    assert not (folder / MODEL).exists()
    return line


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model."])
def test_weights_under_another_prefix_are_refused_with_their_names(source, tmp_path, prefix):
    rewritten(source, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    line = told(source, tmp_path / "base")
    assert re.search(r"\d+ weights are missing \([^)]*model\.embed_tokens\.weight, model\.layers\.0", line)
    assert re.search(rf"\d+ weights are of no use to it \({prefix}model\.embed_tokens", line)
    assert "or rename the weights" in line


def test_a_layer_that_was_left_out_is_refused_with_its_names(source, tmp_path):
    rewritten(source, lambda tensors: {n: t for n, t in tensors.items() if ".layers.1." not in n})
    assert "9 weights are missing (model.layers.1.input_layernorm.weight, " in told(source, tmp_path / "base")


def test_a_weight_that_the_architecture_does_not_have_is_refused(source, tmp_path):
    rewritten(source, lambda tensors: {**tensors, "model.layers.0.self_attn.q_proj.bias": torch.ones(32)})
    line = told(source, tmp_path / "base")
    assert "1 weights are of no use to it (model.layers.0.self_attn.q_proj.bias)" in line


def test_a_weight_of_another_shape_is_refused(source, tmp_path):
    rewritten(source, lambda tensors: {**tensors, "model.norm.weight": torch.ones(31)})
    assert "model.norm.weight" in told(source, tmp_path / "base")


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_git_lfs_pointer_is_one_line(source, tmp_path, name):
    (source / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    line = told(source, tmp_path / "base")
    assert line == f"{source / name}: is a git-lfs pointer and not the file itself; run git lfs pull in {source}"


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gptq", {"bits": 4, "group_size": 128}),
        ("awq", {"bits": 4, "group_size": 128}),
        ("bitsandbytes", {"load_in_4bit": True}),
        ("mxfp4", {}),
        ("fp8", {}),
    ],
)
def test_quantised_weights_are_refused(source, tmp_path, method, options):
    config = read_json(source / "config.json")
    write_json(source / "config.json", {**config, "quantization_config": {"quant_method": method, **options}})
    line = told(source, tmp_path / "base")
    assert line.endswith(f"quantised ({method}) and cannot be trained; name a copy in bfloat16 or float32")


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(source, tmp_path):
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<one>", "<more>"])
    tokenizer.save_pretrained(source)
    assert "the tokenizer has 263 tokens and the embedding 261 rows" in told(source, tmp_path / "base")


def test_a_model_without_any_end_token_is_refused(source, tmp_path):
    config, of = read_json(source / "config.json"), read_json(source / "tokenizer_config.json")
    write_json(source / "config.json", {**config, "eos_token_id": None})
    (source / "generation_config.json").unlink()
    write_json(source / "tokenizer_config.json", {**of, "eos_token": None, "pad_token": None})
    (source / "chat_template.jinja").unlink()
    line = told(source, tmp_path / "base")
    assert "neither the tokenizer nor the generation config names an end token" in line


def test_an_encoder_decoder_is_refused(source, tmp_path):
    config = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 261}
    write_json(source / "config.json", {**config, "is_encoder_decoder": True})
    assert told(source, tmp_path / "base").endswith("is an encoder-decoder; choose a causal language model")


def test_a_model_that_is_computed_otherwise_is_refused(source, tmp_path, monkeypatch):
    """Head and generation are tried on the model itself, whatever its kind says of them."""
    monkeypatch.setattr(parts.Head, "of", classmethod(lambda cls, model: cls(model.lm_head, scale=0.5)))
    line = told(source, tmp_path / "base")
    assert re.search(r"of the kind llama \(LlamaForCausalLM\): its losses differ by \d", line)


def test_a_model_whose_batches_are_not_its_single_prompts_is_refused(tmp_path):
    config = MambaConfig(vocab_size=tiny.VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2)
    MambaForCausalLM(config).save_pretrained(tmp_path / "source")
    tiny.tokenizer().save_pretrained(tmp_path / "source")
    line = told(tmp_path / "source", tmp_path / "base")
    assert re.search(r"of the kind mamba \(MambaForCausalLM\): its generation differ", line)
    assert line.endswith("choose a model of a kind that the README lists")


def test_a_template_that_needs_a_choice_is_refused_before_the_weights_are_read(source, tmp_path, monkeypatch):
    (source / "chat_template.jinja").write_text(templates.template("qwen3"))
    monkeypatch.setattr(importing, "_model", lambda *_: pytest.fail("weights were read"))
    line = told(source, tmp_path / "base", name="mine")
    assert line.startswith("models.mine: the chat template asks for reasoning ahead of the response")


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    assert told(tmp_path / "none", tmp_path / "base") == (
        f"folder:{tmp_path / 'none'}: there is no such folder; paths start at the working folder"
    )


def test_the_card_says_what_was_found(source, tmp_path):
    tokenizer = tiny.tokenizer(eos=tiny.TEXT_END)
    tokenizer.save_pretrained(source)
    config = read_json(source / "generation_config.json")
    # What no sampling of ours may take over, and what transformers would not even save.
    odd = {"eos_token_id": [tiny.END_ID, 260], "temperature": 0.1, "top_k": 1, "num_beams": 4, "min_p": 0.5}
    write_json(source / "generation_config.json", {**config, **odd})
    card = import_base(f"folder:{source}", None, tmp_path / "base")
    assert card["chat"]["stops"] == [tiny.END_ID, 260]
    assert card["chat"]["sample"]["ends"] == [tiny.END, tiny.TEXT_END]
    assert card["chat"]["sample"]["target"] == f"Yes.{tiny.END}"
    assert (card["context"], card["hard_context"], card["not_trained"]) == (2048, False, [])
    assert card["probe"]["losses"] < 1e-5
    assert card["probe"]["generation"] < 1e-5
    assert "original/generation_config.json" in card["files"]


def test_a_base_is_known_by_all_that_is_read_of_it(source, tmp_path):
    """Not by its weights alone: a configuration, a tokenizer or a limit changes every number as well."""
    config = read_json(source / "config.json")
    found = {imported(source, tmp_path / "0")["sha256"], imported(source, tmp_path / "0")["sha256"]}
    assert len(found) == 1
    for number, change in enumerate(
        ({"rope_parameters": {**config["rope_parameters"], "rope_theta": 3.0}}, {"max_position_embeddings": 99})
    ):
        write_json(source / "config.json", {**config, **change})
        found.add(imported(source, tmp_path / str(number + 1))["sha256"])
    write_json(source / "config.json", config)
    tiny.tokenizer(begins=True).save_pretrained(source)
    found.add(imported(source, tmp_path / "3")["sha256"])
    assert len(found) == 4


def test_weights_keep_the_precision_of_their_file_whatever_the_configuration_says(source, tmp_path):
    write_json(source / "config.json", {**read_json(source / "config.json"), "dtype": "bfloat16"})
    before = load_file(source / WEIGHTS)
    assert imported(source, tmp_path / "base")["dtype"] == "float32"
    stored = load_file(tmp_path / "base" / MODEL / WEIGHTS)
    assert all(torch.equal(stored[name], weight) for name, weight in before.items())


def test_weights_in_bfloat16_are_probed_in_float32(source, tmp_path):
    """Whose rounding moves the losses of a model that is sure of itself by tenths of a nat (Gemma 3)."""
    rewritten(source, lambda tensors: {name: (8 * weight).bfloat16() for name, weight in tensors.items()})
    card = imported(source, tmp_path / "base")
    assert card["dtype"] == "bfloat16"
    assert card["probe"]["losses"] < 1e-3
    before, stored = load_file(source / WEIGHTS), load_file(tmp_path / "base" / MODEL / WEIGHTS)
    assert all(torch.equal(stored[name], weight) for name, weight in before.items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused_with_its_name(source, tmp_path, value):
    def damaged(tensors):
        tensors["model.embed_tokens.weight"][65, 3] = value
        return tensors

    rewritten(source, damaged)
    assert "1 weights are not finite (model.embed_tokens.weight); name another copy" in told(source, tmp_path / "base")


def test_a_head_of_its_own_stays_apart_though_the_configuration_ties_it(source, tmp_path):
    rewritten(source, lambda tensors: {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + 1})
    imported(source, tmp_path / "base")
    model = load_base(tmp_path / "base")
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight + 1)


def test_a_model_whose_weights_loading_changes_is_refused(tmp_path):
    """Of Youtu, transformers sets the padding token's row to 0, which is often the end token's."""
    lora = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
    options = {**families.SIZES, **lora, "num_key_value_heads": 4, "tie_word_embeddings": True}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("youtu", **options))
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(0.5)
    model.save_pretrained(tmp_path / "source")
    tiny.tokenizer().save_pretrained(tmp_path / "source")
    line = told(tmp_path / "source", tmp_path / "base")
    assert "1 weights are others than in the files once they are loaded (model.embed_tokens.weight)" in line


def test_an_adapter_is_refused(source, tmp_path):
    write_json(source / "adapter_config.json", {"peft_type": "LORA"})
    assert "holds an adapter (adapter_config.json); merge it into its base model" in told(source, tmp_path / "base")


@pytest.mark.parametrize("end", ["258", 258.0, [[258]], True])
def test_an_end_token_that_is_no_id_is_one_line(source, tmp_path, end):
    write_json(source / "generation_config.json", {"eos_token_id": end})
    assert "cannot be loaded" in told(source, tmp_path / "base")


@pytest.mark.parametrize("end", [-1, 999])
def test_an_end_token_that_the_tokenizer_does_not_have_is_left_out(source, tmp_path, end):
    write_json(source / "generation_config.json", {"eos_token_id": [tiny.END_ID, end]})
    assert imported(source, tmp_path / "base")["chat"]["stops"] == [tiny.END_ID]


def named_templates(source, **by_name):
    file = source / "tokenizer_config.json"
    (source / "chat_template.jinja").unlink()
    listed = [{"name": name, "template": template} for name, template in by_name.items()]
    write_json(file, {**read_json(file), "chat_template": listed})


def test_of_several_chat_templates_the_default_counts(source, tmp_path):
    named_templates(source, tool_use="{{ raise_exception('no tools') }}", default=tiny.CHATML)
    assert imported(source, tmp_path / "base")["chat"]["sample"]["target"] == f"Yes.{tiny.END}"


def test_several_chat_templates_without_a_default_are_refused_with_their_names(source, tmp_path):
    named_templates(source, tool_use=tiny.CHATML, rag=tiny.CHATML)
    line = told(source, tmp_path / "base")
    assert "has chat templates named rag, tool_use and no default; add chat_template: <a file> with one" in line


def test_a_chat_template_that_is_no_jinja_is_told_with_its_line(source, tmp_path):
    (source / "chat_template.jinja").write_text("a\n{{ messages }")
    line = told(source, tmp_path / "base", name="mine")
    assert line.startswith("models.mine: the chat template, line 2: no valid Jinja (unexpected '}'); add chat_template")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{% if %}".encode("utf-16"), "cannot be read ('utf-8' codec"),
        (b"a\n{% if %}", "line 2: no valid Jinja"),
        (b"{{ messages | shout }}", "line 1: no valid Jinja (No filter named 'shout'"),
    ],
)
def test_a_template_file_that_cannot_be_used_is_one_line(tmp_path, content, expected):
    (tmp_path / "mine.jinja").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_template(tmp_path / "mine.jinja")
    assert str(error.value).startswith(str(tmp_path / "mine.jinja"))
    assert expected in str(error.value)


def test_an_argument_that_the_template_does_not_read_is_refused(source, tmp_path):
    (source / "chat_template.jinja").write_text(templates.template("qwen3"))
    line = told(source, tmp_path / "base", settings=Settings(arguments={"enable_thinkin": False}), name="mine")
    assert line == (
        "models.mine.chat_template: the template reads no 'enable_thinkin'; did you mean 'enable_thinking'?"
    )


def test_a_router_s_loss_is_left_out_of_what_is_computed_and_stays_in_an_export(tmp_path):
    source = families.source("mixtral", tmp_path / "source")
    written = {**read_json(source / "config.json"), "output_router_logits": True}
    write_json(source / "config.json", written)
    assert imported(source, tmp_path / "base")["probe"]["losses"] < 1e-3
    assert not load_base(tmp_path / "base").config.output_router_logits
    assert read_json(tmp_path / "base" / MODEL / ORIGINAL / "config.json")["output_router_logits"]


def test_positions_that_are_scaled_by_length_end_the_context(tmp_path):
    """As in Phi-3-mini-128k: beyond its original context a text changes how the others of its batch are read."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": 256, **factors}
    made = families.model("phi3", rope_parameters=rope, original_max_position_embeddings=256)
    made.save_pretrained(tmp_path / "source")
    tiny.tokenizer().save_pretrained(tmp_path / "source")
    card = imported(tmp_path / "source", tmp_path / "base")
    assert (card["context"], card["hard_context"]) == (256, True)
    assert importing.source_context(f"folder:{tmp_path / 'source'}", None) == 256


def test_a_table_of_positions_ends_the_context(tmp_path):
    config = GPTJConfig(**families.GPT, n_embd=32, n_layer=2, n_head=4, rotary_dim=8, n_positions=512)
    GPTJForCausalLM(config).save_pretrained(tmp_path / "source")
    tiny.tokenizer().save_pretrained(tmp_path / "source")
    card = imported(tmp_path / "source", tmp_path / "base")
    assert (card["context"], card["hard_context"]) == (512, True)


def test_a_model_without_attention_is_counted(tmp_path):
    config = Mamba2Config(
        vocab_size=tiny.VOCABULARY,
        hidden_size=32,
        state_size=8,
        num_hidden_layers=2,
        num_heads=8,
        head_dim=8,
        expand=2,
        n_groups=1,
    )
    assert Work.of(Mamba2ForCausalLM(config)).width == 0


def test_a_decoder_whose_head_is_called_its_decoder_is_found():
    config = {**families.SIZES, "bos_token_id": 256}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("modernbert-decoder", **config))
    assert parts.text_decoder(model) is model.model


def test_evaluation_in_bfloat16_is_that_of_a_model_stored_in_bfloat16(source, tmp_path):
    """Weights are rounded, rotary frequencies are not."""
    imported(source, tmp_path / "base")
    found = Resident(tmp_path / "base", "bfloat16", load_chat(tmp_path / "base")).model
    expected = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    ids = torch.arange(200)[None]
    assert found.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(found(input_ids=ids).logits, expected(input_ids=ids).logits)


def test_an_imported_model_stops_in_other_programs_where_it_stops_here(source, tmp_path):
    """Where only the tokenizer names the end token, as for a GGUF file, whose export copies no generation config."""
    (source / "generation_config.json").unlink()
    write_json(source / "config.json", {**read_json(source / "config.json"), "eos_token_id": None})
    base = tmp_path / "base"
    card = import_base(f"folder:{source}", None, base)
    write_json(base / CARD, card)
    assert card["chat"]["stops"] == []
    assert read_json(base / MODEL / "generation_config.json")["eos_token_id"] == [tiny.END_ID]
    assert load_base(base).generation_config.eos_token_id == [tiny.END_ID]


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
