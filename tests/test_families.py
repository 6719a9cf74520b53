"""Over the architectures that people fine-tune: import, every method, deltas, exports, losses, generation, packing."""

from functools import cache
from pathlib import Path

import families
import pytest
import tiny
import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from tradeoff import methods
from tradeoff.errors import UserError
from tradeoff.export import export
from tradeoff.models.base import (
    ORIGINAL,
    REST,
    WEIGHTS,
    load_base,
    load_chat,
    load_parameters,
    load_result,
    model_class,
)
from tradeoff.models.delta import DELTA, Delta
from tradeoff.models.generation import Prompt, generate, score
from tradeoff.models.import_base import import_base
from tradeoff.models.parts import freeze_rest, has_experts, linear_weights, shares_openings, text_parameters
from tradeoff.provenance import CARD, read_json, sha256_file, write_json
from tradeoff.training import batches, packing
from tradeoff.training.flops import Work
from tradeoff.training.losses import TokenLosses
from tradeoff.training.tokens import Sequence

# Of every recipe that trains, two steps.
RECIPES = {
    "sft": {},
    "l2": {"strength": 0.01},
    "lora": {"rank": 2, "alpha": 4.0},
    "flow": {},
    "talr": {},
    "dft": {},
    "profit": {"threshold": 0.0},
}
# A state that goes through all tokens of a row, or an attention whose mask takes no positions.
SHARES = {"llama", "qwen3_vl", "phi3", "olmo2", "granite", "cohere", "smollm3", "glm4", "falcon", "gpt_neox"}
NOT_PACKED = {"qwen3_5", "qwen3_next", "granitemoehybrid", "lfm2", "falcon_h1", "gpt_oss"}
# Of each family, what LoRA leaves alone.
NO_ADAPTER = {
    "mixtral": {"gate.weight"},
    "qwen3_moe": {"gate.weight"},
    "qwen3_5": {"conv1d.weight"},
    "qwen3_next": {"conv1d.weight", "gate.weight"},
    "granitemoehybrid": {"conv1d.weight", "router.weight", "out_proj.weight"},
    "lfm2": {"conv.weight"},
    "falcon_h1": {"conv1d.weight", "out_proj.weight"},
    "gpt_oss": {"experts.gate_up_proj_bias", "experts.down_proj_bias", "router.weight"},
    "llama4": {"router.weight"},
    "gpt_neo": {"wpe.weight"},
    "gpt2": {"wpe.weight"},
}


@cache
def imported(family: str, folder: Path) -> Path:
    """A family's base, imported once for all tests."""
    base = folder / family / "base"
    source = families.source(family, folder / family / "source")
    write_json(base / CARD, import_base(f"folder:{source}", None, base))
    return base


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@pytest.fixture(params=families.CONFIGS)
def family(request):
    return request.param


@pytest.fixture
def base(family, places):
    return imported(family, places)


def names(file: Path) -> set[str]:
    with safe_open(file, "pt") as content:
        return set(content.keys())


def own_losses(model, sequences):
    """Each sequence's nll from the model's own logits, in one pass each."""
    found = []
    for sequence in sequences:
        ids, start = torch.tensor(sequence.ids), max(sequence.prompt_length, 1)
        logits_LV = model(input_ids=ids[None], use_cache=False).logits[0].float()
        found.append(nn.functional.cross_entropy(logits_LV[start - 1 : -1], ids[start:], reduction="none"))
    return torch.cat(found)


def test_the_names_of_a_base_are_the_model_s_own(base, family):
    model, parameters = load_base(base), load_parameters(base)
    theirs = dict(model.named_parameters())
    assert parameters.keys() == text_parameters(model).keys() <= theirs.keys()
    freeze_rest(model)
    assert Delta.between(model, parameters).statistics(parameters)["delta_norm"] == 0
    assert read_json(base / CARD)["parameters"] == sum(p.numel() for p in parameters.values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_method_s_result_is_the_base_and_its_delta(family, recipe, base, tmp_path):
    method = methods.build({"recipe": recipe, **RECIPES[recipe]})
    model = load_base(base)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = tiny.fit(method, tiny.sequences(8), base=model, parameters=load_parameters(base))
    assert len(found.steps) == 2
    assert found.delta.statistics(load_parameters(base))["delta_norm"] > 0
    assert {*found.delta.dense, *found.delta.factors} <= load_parameters(base).keys()

    found.delta.save(tmp_path / DELTA)
    write_json(tmp_path / CARD, {"delta_sha256": sha256_file(tmp_path / DELTA)})
    result, ids = load_result(base, tmp_path), torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        expected, logits = (m.eval()(input_ids=ids, use_cache=False).logits for m in (model, result))
    # A dense difference is stored in bfloat16, its factors in float32.
    torch.testing.assert_close(logits, expected, rtol=0, atol=5e-5 if recipe == "lora" else 2e-2)
    for name, parameter in result.named_parameters():
        if name not in load_parameters(base):
            assert torch.equal(parameter, before[name]), f"{name} is no part of the text and has moved"


@torch.no_grad()
def test_losses_are_those_of_the_model_s_own_logits(base):
    model, data = load_base(base), tiny.sequences(6, longest=40)
    found = TokenLosses(model).eval()(batches.collate(list(range(6)), data, tiny.END_ID))
    torch.testing.assert_close(found, own_losses(model, data), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [20, 0])
def test_a_batch_is_continued_as_each_prompt_alone(base, shared):
    """Windows are of 8 tokens, prompts share 20 of them, and rows leave the batch when half of them have ended.

    The likelihood of other continuations is measured on the way, and is that of the model's own logits.
    """
    model, draw = load_base(base), torch.Generator().manual_seed(1)
    opening = torch.randint(200, (shared,), generator=draw).tolist()
    prompts = [[*opening, *torch.randint(200, (n,), generator=draw).tolist()] for n in (9, 1, 21, 4)]
    whole = [alone(model, prompt, 14) for prompt in prompts]
    ends = {whole[0][3], whole[1][5]}
    expected = [ids[: next((n for n, token in enumerate(ids, 1) if token in ends), 14)] for ids in whole]
    others = [torch.randint(200, (n,), generator=draw).tolist() for n in (3, 12, 0, 1)]
    asked = [
        Prompt(ids, 14, shared, expected=[other] * bool(other)) for ids, other in zip(prompts, others, strict=True)
    ]
    data = [Sequence("", (*prompts[n], *others[n]), len(prompts[n])) for n in (0, 1, 3)]
    with torch.no_grad():
        own = own_losses(model, data)
    for budget in (80, 10_000):  # with 80 tokens a row takes another's place
        found = {}
        assert generate(model, asked, ends, tiny.END_ID, budget, scored=found.__setitem__) == expected
        assert found.keys() == {0, 1, 3}
        nll = torch.cat([found[n][0].nll_T for n in sorted(found)])
        torch.testing.assert_close(nll, own, rtol=1e-5, atol=1e-5)


LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
NEAR = {
    "gpt2": {"n_positions": 40},
    "gpt_neo": {"max_position_embeddings": 40},
    "phi3": {
        "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 40},
        "original_max_position_embeddings": 40,
        "max_position_embeddings": 160,
    },
    "llama": {
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
        "max_position_embeddings": 40,
    },
}


@pytest.mark.parametrize("kind", NEAR)
def test_a_row_that_has_ended_and_padding_stay_within_the_context(kind):
    """Tables of 40 positions, and frequencies that change for all rows beyond 40: every row ends with token 40."""
    draw = torch.Generator().manual_seed(0)
    prompts = [torch.randint(200, (n,), generator=draw).tolist() for n in (30, 20, 20, 5)]

    def fresh():  # dynamic frequencies stay with a model
        return families.model(kind, **NEAR[kind]).eval()

    expected = [alone(fresh(), ids, 40 - len(ids)) for ids in prompts]
    for budget in (1, 80, 150, 10_000):
        asked = [Prompt(ids, 40 - len(ids), expected=[range(40 - len(ids)), [7]]) for ids in prompts]
        nlls = {}
        assert generate(fresh(), asked, set(), tiny.END_ID, budget, scored=nlls.__setitem__) == expected
        with torch.no_grad():
            own = own_losses(fresh(), [Sequence("", (*p.ids, *t), len(p.ids)) for p in asked for t in p.expected])
        found = torch.cat([scored.nll_T for n in range(4) for scored in nlls[n]])
        torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-4)
    data = [
        Sequence(str(n), (*prompts[n % 4], *range(40 - len(prompts[n % 4]))), len(prompts[n % 4])) for n in range(8)
    ]
    with torch.no_grad():
        own = own_losses(fresh(), data)
    found = torch.cat([scored.nll_T for scored in score(fresh(), data, tiny.END_ID)])
    torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_likelihoods_are_those_of_the_model_s_own_logits(base):
    """Three continuations of each of three prompts, which are read once."""
    model, draw = load_base(base), torch.Generator().manual_seed(1)
    opening, tails = torch.randint(200, (12,), generator=draw).tolist(), torch.randint(200, (9, 7), generator=draw)
    prompts = [[*opening, *tails[n, :n].tolist()] for n in (1, 4, 6)]
    data = [Sequence(str(n), (*prompts[n % 3], *tails[n, n % 3 :].tolist()), len(prompts[n % 3])) for n in range(9)]
    found = torch.cat([scored.nll_T for scored in score(model, data, tiny.END_ID, 60)])
    torch.testing.assert_close(found, own_losses(model, data), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def alone(model, ids, length):
    """The textbook loop, without cache, batch or padding."""
    written = []
    for _ in range(length):
        logits_V = model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, -1]
        written.append(logits_V.argmax().item())
    return written


@torch.no_grad()
def test_packed_rows_are_blind_to_each_other_or_packing_is_refused(base, family):
    model, data = load_base(base), tiny.sequences(5, longest=30)
    losses = TokenLosses(model).eval()
    if family in NOT_PACKED:
        with pytest.raises(UserError, match=r"\Atraining\.packing: [^\n]* leave packing out\Z"):
            packing.check(losses, 200, torch.device("cpu"))
        return
    packing.check(losses, 200, torch.device("cpu"), packing.ROUNDING["float32"] if has_experts(model) else 0.0)
    found = losses(batches.collate(list(range(5)), data, tiny.END_ID, packed=True))
    torch.testing.assert_close(found, own_losses(model, data), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_rows_that_share_an_opening_lose_what_whole_rows_do_where_it_may_be_shared(base, family):
    model, opening = load_base(base), tuple(range(20, 50))
    data = [Sequence(s.id, opening + s.ids, 30 + max(s.prompt_length, 1)) for s in tiny.sequences(5, longest=30)]
    assert shares_openings(model) == (family in SHARES)
    if family not in SHARES:
        return
    batch = batches.collate(list(range(5)), data, tiny.END_ID, share=True)
    assert batch.opening == len(opening)
    torch.testing.assert_close(TokenLosses(model).eval()(batch), own_losses(model, data), rtol=1e-5, atol=1e-5)


def test_lora_adapts_every_matrix_of_the_decoder_and_says_what_it_leaves(base, family, capsys):
    model = load_base(base)
    weights, _ = linear_weights(model)
    method = methods.build({"recipe": "lora", "rank": 2, "alpha": 4.0})
    found = method.difference(method.prepare(model), {})
    left = NO_ADAPTER.get(family, set())
    bare = {name for name in weights if name.endswith(tuple(f".{end}" for end in left)) and _is_left(name)}
    assert found.factors.keys() == weights.keys() - bare
    for name, low in found.factors.items():
        assert low.dense().shape == weights[name].shape
    assert f"no adapter on {', '.join(sorted(left)) or 'none'}" in capsys.readouterr().out
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name and "vision" not in name for name in trained)


def reloaded(folder: Path):
    """A model folder as anyone loads it, and the loading report."""
    cls = model_class(AutoConfig.from_pretrained(folder))
    return cls.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)


def _is_left(name: str) -> bool:
    """A state-space mixer's last layer is; linear attention's has the same name."""
    return "linear_attn" not in name and "self_attn" not in name


def test_an_export_has_the_names_and_files_of_the_source(base, family, places, tmp_path):
    source, run = places / family / "source", tmp_path / "run"
    found = tiny.fit({"recipe": "sft"}, tiny.sequences(4), base=load_base(base), parameters=load_parameters(base))
    found.delta.save(run / DELTA)
    made = {"base_sha256": read_json(base / CARD)["sha256"], "run_id": "r", "delta_sha256": sha256_file(run / DELTA)}
    write_json(run / CARD, made)
    export(base, run, tmp_path / "export", "float32")
    assert names(tmp_path / "export" / WEIGHTS) == names(source / WEIGHTS)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        assert (tmp_path / "export" / name).read_bytes() == (source / name).read_bytes()
    assert read_json(tmp_path / "export/config.json") == read_json(source / "config.json")

    loaded, report = reloaded(tmp_path / "export")
    assert not any(report.values())
    assert AutoTokenizer.from_pretrained(tmp_path / "export").chat_template == tiny.CHATML
    for (name, one), (other, two) in zip(
        loaded.named_parameters(), load_result(base, run).named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)


def test_only_the_text_of_a_multimodal_model_is_counted(places):
    base = imported("gemma3", places)
    model, text = load_base(base), load_base(imported("gemma3_text", places))
    assert Work.of(model) == Work.of(text)
    card = read_json(base / CARD)
    assert card["parameters"] == read_json(imported("gemma3_text", places) / CARD)["parameters"]
    assert card["not_trained"] == ["model.multi_modal_projector.", "model.vision_tower."]
    assert card["architecture"] == "Gemma3ForConditionalGeneration"


def test_work_counts_the_experts_that_a_token_goes_to(places):
    model = load_base(imported("mixtral", places))
    stacked = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 3)
    dense = sum(p.numel() for name, p in linear_weights(model)[0].items() if p.ndim == 2)
    assert Work.of(model).linear == dense + stacked // 2  # two of four


def test_what_transformers_does_not_load_is_exported_too(tmp_path):
    """A draft head, as Qwen3-Next's checkpoints have: transformers leaves it out, and an engine may want it."""
    from safetensors.torch import load_file, save_file

    source, base, run = families.source("qwen3_next", tmp_path / "source"), tmp_path / "base", tmp_path / "run"
    tensors = load_file(source / WEIGHTS)
    save_file({**tensors, "mtp.fc.weight": torch.ones(2, 2)}, source / WEIGHTS, {"format": "pt"})
    write_json(base / CARD, import_base(f"folder:{source}", None, base))
    Delta().save(run / DELTA)
    made = {"base_sha256": read_json(base / CARD)["sha256"], "run_id": "r", "delta_sha256": sha256_file(run / DELTA)}
    write_json(run / CARD, made)
    export(base, run, tmp_path / "export", "float32")
    assert names(tmp_path / "export" / REST) == {"mtp.fc.weight"}
    index = read_json(tmp_path / "export/model.safetensors.index.json")["weight_map"]
    assert index.keys() == names(source / WEIGHTS)
    _, report = reloaded(tmp_path / "export")
    assert not any(report.values())


def test_chats_of_all_families_are_read_back_as_they_were_imported(base):
    chat, card = load_chat(base), read_json(base / CARD)
    assert card["chat"] == {**chat.identity, "stops": [tiny.END_ID], "sample": chat.describe()}
    assert (base / "model" / ORIGINAL / "tokenizer.json").is_file()
