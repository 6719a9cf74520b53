"""What holds on a GPU: `make gpu`. Elsewhere the arithmetic of its attention alone is tried, with a stand-in for it."""

import json

import pytest
import test_golden
import tiny
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tradeoff import methods
from tradeoff.models.generation import Prompt, generate
from tradeoff.models.precision import autocast
from tradeoff.training import batches, packing
from tradeoff.training.losses import TokenLosses

gpu = pytest.mark.slow  # `make gpu` runs these
WINDOW = 8


SIZES = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": WINDOW,
    "pad_token_id": tiny.PAD_ID,
}
WINDOWED = {"max_window_layers": 1, "use_sliding_window": True}
FAMILIES = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **WINDOWED)),
    "one head a head": lambda: Qwen2ForCausalLM(Qwen2Config(**{**SIZES, "num_key_value_heads": 4}, **WINDOWED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, **WINDOWED)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, layer_types=["full_attention", "sliding_attention"])),
}


def windowed(family="qwen2"):
    """A model of which one layer sees all tokens before and the other a window of them."""
    made = FAMILIES[family]().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2, generator=generator)
    made.get_input_embeddings().padding_idx = None  # as models.load_base does
    assert made.config.layer_types == ["full_attention", "sliding_attention"]
    return made


def reference(query_LHK, key_LGK, value_LGK, begin_N, _, longest, __, scale, window_size, enable_gqa):
    """What torch's variable-length attention computes, sequence by sequence."""
    assert window_size[1] == 0, "causal"
    parts = []
    for begin, end in zip(begin_N[:-1].tolist(), begin_N[1:].tolist(), strict=True):
        assert end - begin <= longest
        place_L = torch.arange(end - begin)
        before_LL = place_L[:, None] - place_L[None, :]
        seen_LL = (before_LL >= 0) & (before_LL <= (window_size[0] if window_size[0] >= 0 else longest))
        states = (s[begin:end].transpose(0, 1)[None] for s in (query_LHK, key_LGK, value_LGK))
        out = torch.nn.functional.scaled_dot_product_attention(
            *states, attn_mask=seen_LL, scale=scale, enable_gqa=enable_gqa
        )
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


def gradients(model, batch, precision, device):
    """Losses of a batch, and the gradient of their mean, flat."""
    losses = TokenLosses(model.to(device))
    model.zero_grad()
    with autocast(precision, device.type):
        nll_T = losses(batch.to(device))
    nll_T.mean().backward()
    return nll_T.detach().cpu(), torch.cat([p.grad.flatten().cpu() for p in model.parameters()])


def agree(device, family):
    """Packed rows by sequences' boundaries do what padded rows do, within bfloat16's rounding."""
    data, model = tiny.sequences(6, longest=40), windowed(family)
    numbers = list(range(6))
    padded, packed = (batches.collate(numbers, data, tiny.END_ID, packed=p) for p in (False, True))
    nll_T, gradient = gradients(model, padded, "float32", device)
    rounded_T, rounded = gradients(model, padded, "bfloat16", device)
    packing.attend_within(model, torch.device("cuda"), "bfloat16")
    packed_T, of_packed = gradients(model, packed, "bfloat16", device)
    assert model.config._attn_implementation == packing.VARLEN
    # As close to the padded row's float32 as the padded row's own bfloat16 is, but for chance.
    assert (packed_T - nll_T).norm() < 1.5 * (rounded_T - nll_T).norm()
    assert (of_packed - gradient).norm() < 1.5 * (rounded - gradient).norm()
    assert 0 < (of_packed - gradient).norm() < 0.03 * gradient.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_within_boundaries_is_padded_rows_attention(monkeypatch, family):
    monkeypatch.setattr(packing, "varlen_attn", reference)
    agree(torch.device("cpu"), family)


def test_an_attention_that_has_no_such_form_is_refused(monkeypatch):
    monkeypatch.setattr(packing, "varlen_attn", reference)
    model = windowed()
    packing.attend_within(model, torch.device("cuda"), "bfloat16")
    model.model.layers[0].self_attn.attention_dropout = 0.1
    batch = batches.collate([0, 1], tiny.sequences(2), tiny.END_ID, packed=True)
    with pytest.raises(packing.UserError, match=r"\Atraining\.packing: [^\n]*; leave packing out\Z"):
        TokenLosses(model.train())(batch)


@gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_do_what_padded_rows_do(family):
    agree(torch.device("cuda"), family)


@gpu
@pytest.mark.parametrize("recipe", methods.names())
def test_twenty_steps_lose_what_they_lose_on_a_cpu(recipe):
    expected = json.loads((test_golden.GOLDEN / f"{recipe}.json").read_text(encoding="utf-8"))
    assert test_golden.curve(recipe) == pytest.approx(expected, rel=1e-3)


@gpu
@pytest.mark.parametrize("recipe", ["sft", "talr", "flow", "lora"])
def test_packed_in_bfloat16_learns_as_much(recipe):
    options = {"epochs": 5, "batch_tokens": 60}
    plain = tiny.fit({"recipe": recipe}, **options)
    tiny.forget()
    packed = tiny.fit({"recipe": recipe}, packing=True, precision="bfloat16", **options)
    assert [s.tokens for s in packed.steps] == [s.tokens for s in plain.steps]
    assert packed.steps[-1].nll == pytest.approx(plain.steps[-1].nll, rel=0.02)
    assert sum(s.nll for s in packed.steps) == pytest.approx(sum(s.nll for s in plain.steps), rel=0.02)
    assert packed.cost["device"] == "cuda"
    assert packed.cost["peak_memory_bytes"] > 0


@gpu
@pytest.mark.parametrize("options", [{}, {"precision": "bfloat16"}, {"precision": "bfloat16", "packing": True}])
def test_the_same_run_twice_gives_the_same_bits(options):
    one, other = (tiny.fit({"recipe": "talr"}, batch_tokens=40, **options) for _ in range(2))
    assert one.steps == other.steps
    assert all(torch.equal(one.delta.dense[name], other.delta.dense[name]) for name in one.delta.dense)


@gpu
def test_a_compiled_model_learns_the_same():
    plain, compiled = (tiny.fit({"recipe": "talr"}, compile=c) for c in (False, True))
    for one, other in zip(plain.steps, compiled.steps, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


@gpu
def test_a_small_rate_moves_weights_under_autocast():
    moved = tiny.fit({"recipe": "sft"}, rate=1e-6, precision="bfloat16").delta
    assert moved.statistics(tiny.parameters_of(tiny.model()))["share_moved"] > 0.95


@gpu
def test_generation_is_the_cpu_s():
    model, tokenizer = tiny.model().double(), tiny.tokenizer()
    prompts = [tokenizer(text)["input_ids"] for text in ("one and two", "one and three plus", "one")]
    asked = [Prompt(ids, 30) for ids in prompts]
    expected = generate(model, asked, [tiny.END_ID], tiny.END_ID)
    assert generate(model.cuda(), asked, [tiny.END_ID], tiny.END_ID) == expected
