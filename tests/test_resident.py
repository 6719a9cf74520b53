"""One base in memory becomes one result after another; weights and outcomes are those of each result by itself."""

import pytest
import tiny
import torch
from test_store import evaluator

from tradeoff import data, domains
from tradeoff.models.base import load_base, load_chat, load_parameters, load_result
from tradeoff.models.delta import DELTA
from tradeoff.models.resident import Resident
from tradeoff.provenance import CARD, sha256_file, write_json


@pytest.fixture(scope="module")
def runs(tiny_base, tmp_path_factory):
    """Folders of a dense result, of low-rank factors on some of the weights, and of half the first."""
    folder, found = tmp_path_factory.mktemp("runs"), []
    for recipe in ("sft", "lora"):
        fitted = tiny.fit(
            {"recipe": recipe}, base=load_base(tiny_base), parameters=load_parameters(tiny_base), rate=1e-2
        )
        fitted.delta.save(folder / recipe / DELTA)
        sha256 = sha256_file(folder / recipe / DELTA)
        write_json(folder / recipe / CARD, {"run_id": recipe, "delta_sha256": sha256})
        found.append(folder / recipe)
    half = {"recipe": "average", "of": "sft", "alpha": 0.5}
    card = {"run_id": "half", "derived_from": "../sft", "spec": {"method": half}, "code": "c"}
    write_json(folder / "half" / CARD, card)
    return [*found, folder / "half"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resident_model_has_the_weights_of_each_result_in_turn(tiny_base, runs, precision):
    resident = Resident(tiny_base, precision, load_chat(tiny_base))
    sft, lora, half = runs
    for run in (sft, lora, None, half, sft, sft):
        expected = load_result(tiny_base, run).to(next(resident.model.parameters()).dtype).named_parameters()
        found = dict(resident.become(run).named_parameters())
        for name, parameter in expected:
            assert torch.equal(found[name], parameter), (run, name)
    assert not torch.equal(
        *(torch.cat([p.flatten() for p in load_result(tiny_base, r).parameters()]) for r in runs[:2])
    )


def test_a_process_evaluates_many_models_as_each_alone(tiny_base, runs, tmp_path):
    for root in ("together", "alone"):
        examples = domains.kind("shop_mini")().examples("test", 3, 0, {})
        data.write(tmp_path / root / "data/shop_mini/test.jsonl", examples, {})
    order = [*runs, None]
    together = evaluator(tiny_base, tmp_path / "together")
    found = [together.evaluate(run, "tiny") for run in order]
    for run, table in reversed(list(zip(order, found, strict=True))):
        assert evaluator(tiny_base, tmp_path / "alone").evaluate(run, "tiny").equals(table)
    assert len({str(table["response"].to_pylist()) for table in found}) > 2
