"""A LoRA that our method made, merged by us and by peft: every weight, and the logits, over families of models.

Ours is base + delta. peft's is `PeftModel.merge_and_unload` of an adapter with the same matrices, in a model that peft
wrapped itself. All is float32.
"""

from __future__ import annotations

import contextlib
import io
import sys
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import common
import rows
import torch

sys.path.append(str(common.ROOT / "tests"))
import families  # tiny models of many architectures

from tradeoff import methods
from tradeoff.models.base import load_base
from tradeoff.models.delta import Delta
from tradeoff.models.parts import adaptable_weights, without_config

RANK, ALPHA, SIZE = 4, 12.0, 0.1
# Relative to the largest weight of a matrix and the largest logit: a rounding of float32, and what it comes to after
# all layers.
OF_WEIGHTS, OF_LOGITS = 2.0**-23, 2e-5
IDS = torch.tensor([[3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26]])


def main() -> None:
    torch.manual_seed(0)
    weights, logits, unmerged, sizes = {}, {}, {}, {}
    for name in [*families.CONFIGS, "SmolLM2-135M"]:
        base = families.model(name) if name in families.CONFIGS else load_base(common.model())
        weights[name], logits[name], unmerged[name], sizes[name] = compared(base)
    against = f"peft {version('peft')}"
    made = [
        rows.of_numbers("merged LoRA", against, f"{what}, {len(of)} models", list(of.values()), tolerance)
        for what, of, tolerance in (
            ("merged weights, largest difference", weights, OF_WEIGHTS),
            ("logits of the merged models", logits, OF_LOGITS),
            ("logits against peft's adapter, not merged", unmerged, OF_LOGITS),
        )
    ]
    other = [name for name, size in sizes.items() if size["not_adapted_by_PeftModel"]]
    why = (
        {f"by its configuration of {', '.join(other)} peft leaves out layers that we adapt": len(other)}
        if other
        else {}
    )
    made.append(
        rows.Row("merged LoRA", against, "models whose adapted weights agree", len(sizes), len(other), reasons=why)
    )
    each = {n: {"weights": weights[n], "logits": logits[n], "not_merged": unmerged[n], **sizes[n]} for n in weights}
    rows.tell(made, each=each)


def compared(base: Any) -> tuple[float, float, float, dict[str, Any]]:
    """Largest relative differences of weights, of logits, and to the adapter's logits; how far the adapter moves."""
    method = methods.build({"recipe": "lora", "rank": RANK, "alpha": ALPHA})
    adapted = deepcopy(base)
    with contextlib.redirect_stdout(io.StringIO()):
        method.prepare(adapted)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # which are 0 at the start
                parameter.normal_(0, SIZE)
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    delta: Delta = method.difference(adapted, before)
    ours = deepcopy(base)
    delta.add_to(ours)
    (inner, wrapped), left_out = by_peft(deepcopy(base), adapted)
    with torch.no_grad():
        own, of_adapter, of_base = (m(input_ids=IDS).logits for m in (ours, inner, base))
        wrapped.merge_and_unload()
        theirs = inner(input_ids=IDS).logits
    found = dict(inner.named_parameters())
    assert set(found) == set(before), "peft's merged model has other parameters"
    moved = {name for name, p in ours.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(adaptable_weights(base)[0]), "an adapter moved nothing"
    far = max(_relative(p, found[name]) for name, p in ours.named_parameters() if name in moved)
    assert all(torch.equal(p, found[name]) for name, p in ours.named_parameters() if name not in moved)
    size: dict[str, Any] = {
        "not_adapted_by_PeftModel": left_out,
        "adapted": len(moved),
        "largest_change": max((p - before[name]).abs().max().item() for name, p in ours.named_parameters()),
        "largest_change_of_logits": (own - of_base).abs().max().item(),
    }
    return far, _relative(own, theirs), _relative(own, of_adapter), size


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference over the largest number."""
    return ((a - b).abs().max() / b.abs().max()).item()


def by_peft(base: Any, adapted: Any) -> tuple[Any, list[str]]:
    """peft's model around the base, with the adapter's matrices; and what its `PeftModel` would not have adapted.

    By a model's configuration peft renames some targets and leaves some out; where it does, the same tuner is put
    around the model's parts without the configuration, as our method does.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraModel

    targets, _ = adaptable_weights(base)
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=[name.removesuffix(".weight") for name, weight in targets.items() if weight.ndim == 2],
        target_parameters=[name for name, weight in targets.items() if weight.ndim == 3],
    )
    own = {name: p for name, p in adapted.named_parameters() if "lora_" in name}
    plain = deepcopy(base)
    wrapped = get_peft_model(base, deepcopy(config))
    theirs = {name.removeprefix("base_model.model."): p for name, p in wrapped.named_parameters() if "lora_" in name}
    left_out = sorted({name.rsplit(".lora_", 1)[0] for name in set(own) - set(theirs)})
    if set(own) != set(theirs):
        base, wrapped = plain, LoraModel(without_config(plain), config, "default")
        theirs = {name: p for name, p in base.named_parameters() if "lora_" in name}
    assert set(own) == set(theirs), f"other adapters: {sorted(set(own) ^ set(theirs))[:4]}"
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(own[name])
    base.eval()
    return (base, wrapped), left_out


if __name__ == "__main__":
    main()
