"""Small updates are kept: float32 master weights, a delta that survives its file, merges in float32."""

import pytest
import tiny
import torch

from tradeoff.errors import UserError
from tradeoff.methods.lora import LoRA
from tradeoff.models.base import load_base, load_parameters, load_result
from tradeoff.models.delta import DELTA, Delta, LowRank
from tradeoff.provenance import CARD, sha256_file, write_json

STEPS = {"epochs": 4, "batch_size": 4, "schedule": "constant", "warmup": 0.0}
NAME = "model.layers.0.mlp.up_proj.weight"
ENTRY, CHANGE = 0.02001953125, 3e-5


@pytest.fixture(scope="module")
def stored_in_bfloat16(tmp_path_factory):
    return tiny.base_folder(tmp_path_factory.mktemp("bfloat16"), tiny.model(std=0.02).bfloat16())


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def at_a_small_rate(request, stored_in_bfloat16):
    """Delta of twelve steps at 1e-6, under autocast or not."""
    torch.set_num_threads(1)
    base = load_base(stored_in_bfloat16)
    assert {p.dtype for p in base.parameters()} == {torch.float32}
    return tiny.fit({"recipe": "sft"}, rate=1e-6, base=base, precision=request.param, **STEPS).delta


def test_nearly_every_weight_moves_at_a_small_rate(at_a_small_rate, stored_in_bfloat16):
    parameters = load_parameters(stored_in_bfloat16)
    assert {t.dtype for t in at_a_small_rate.dense.values()} == {torch.float32}
    assert at_a_small_rate.dense.keys() == parameters.keys()
    moved = at_a_small_rate.dense["model.norm.weight"] != 0  # weights of 1, which would not move in bfloat16
    assert moved.float().mean() > 0.95
    statistics = at_a_small_rate.statistics(parameters)
    assert statistics["share_moved"] > 0.95
    assert statistics["share_kept_bfloat16"] < 0.3 * statistics["share_moved"]


def test_a_saved_delta_keeps_every_entry_to_8_bits_and_moves_the_base(at_a_small_rate, stored_in_bfloat16, tmp_path):
    at_a_small_rate.save(tmp_path / DELTA)
    loaded = Delta.load(tmp_path / DELTA).tensors()
    for name, exact in at_a_small_rate.dense.items():
        assert ((loaded[name]() - exact).abs() <= exact.abs() * 2**-8).all()

    write_json(tmp_path / CARD, {"delta_sha256": sha256_file(tmp_path / DELTA)})
    base, result = load_parameters(stored_in_bfloat16), load_result(stored_in_bfloat16, tmp_path)
    moved = sum((p != base[name]).sum().item() for name, p in result.named_parameters())
    assert moved > 0.95 * result.num_parameters()


def test_statistics_count_what_moves_and_what_a_bfloat16_export_keeps():
    base = {"a": torch.ones(4), "frozen": torch.ones(4)}
    delta = Delta({"a": torch.tensor([0.0, 1e-12, 1e-4, 0.5])})
    found = delta.statistics(base)
    assert found["delta_norm"] == pytest.approx((1e-8 + 0.25) ** 0.5)
    assert found["share_moved"] == 2 / 8
    assert found["share_kept_bfloat16"] == 1 / 8


def test_half_a_file_is_no_delta(tmp_path):
    path = tmp_path / DELTA
    Delta({"a": torch.ones(100)}).save(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a whole delta"):
        Delta.load(path)


# LoRA


def test_a_merge_keeps_a_change_below_half_a_bfloat16_step(tmp_path, tiny_model):
    weight = dict(tiny_model.named_parameters())[NAME]
    A, B = torch.zeros(1, weight.shape[1]), torch.zeros(weight.shape[0], 1)
    A[0, 0], B[0, 0] = 1, CHANGE
    with torch.no_grad():
        weight[0, 0] = ENTRY
    Delta(factors={NAME: LowRank(A, B)}).save(tmp_path / DELTA)
    Delta.load(tmp_path / DELTA).add_to(tiny_model)
    assert weight[0, 0].item() == pytest.approx(ENTRY + CHANGE, abs=2e-9)
    assert (torch.tensor(ENTRY).bfloat16() + torch.tensor(CHANGE).bfloat16()).item() == ENTRY  # what is avoided


def test_a_difference_is_not_added_in_bfloat16(tiny_model):
    with pytest.raises(AssertionError, match="float32"):
        Delta({NAME: torch.zeros(64, 32)}).add_to(tiny_model.bfloat16())


def test_base_plus_delta_has_the_logits_of_the_trained_adapter(tmp_path):
    adapted = tiny.model()
    delta = tiny.fit({"recipe": "lora", "rank": 4, "alpha": 8.0}, rate=1e-2, base=adapted, **STEPS).delta
    delta.save(tmp_path / DELTA)
    ids_BL = torch.arange(64).reshape(4, 16)
    for change in (delta, Delta.load(tmp_path / DELTA)):
        merged = tiny.model()
        start = merged(ids_BL).logits
        change.add_to(merged)
        end, expected = merged(ids_BL).logits, adapted.eval()(ids_BL).logits
        torch.testing.assert_close(end, expected, rtol=0, atol=1e-5)
        assert (end - start).abs().max() > 0.1


@pytest.mark.parametrize(("rank", "alpha"), [(2, 2.0), (4, 32.0), (8, 1.0)])
def test_the_scale_of_an_adapter_is_applied_once(rank, alpha, tiny_model):
    base = tiny.parameters_of(tiny_model)
    method = LoRA(rank=rank, alpha=alpha)
    adapted = method.prepare(tiny_model)
    layers = {name: m for name, m in adapted.named_modules() if hasattr(m, "lora_B")}
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    delta = method.difference(adapted, base)
    assert delta.dense == {}
    assert delta.factors.keys() == {f"{name}.weight" for name in layers}
    assert delta.factors.keys() <= base.keys()
    for name, layer in layers.items():
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        found = delta.factors[f"{name}.weight"].dense()
        torch.testing.assert_close(found, alpha / rank * (B @ A))
        torch.testing.assert_close(found, layer.get_delta_weight("default"))
