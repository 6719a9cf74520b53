"""Twenty steps of each recipe against kept curves, which `python tests/test_golden.py --write` renews.

A curve that changes is a change of results: renew it only when that is meant, and say so in the changelog.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pytest
import tiny
import torch

from tradeoff import methods
from tradeoff.training import batches
from tradeoff.training.base_nll import token_losses

GOLDEN = Path(__file__).parent / "golden"
# Hyper-parameters without a default, and a threshold near the probabilities of a random model.
REQUIRED = {"l2": {"strength": 0.1}, "average": {"of": "sft"}, "profit": {"threshold": 0.004}}
EXAMPLES, EPOCHS, BATCH = 16, 5, 4
SETTINGS = {"epochs": EPOCHS, "batch_size": BATCH, "batch_tokens": 40}


def curve(recipe: str) -> list[float]:
    """The loss of each step; of a recipe that trains nothing, the finished model's mean nll on each step's examples."""
    torch.set_num_threads(1)
    method, data = methods.build({"recipe": recipe, **REQUIRED.get(recipe, {})}), tiny.sequences(EXAMPLES)
    if method.source is None:
        return [step.loss for step in tiny.fit(method, data, **SETTINGS).steps]
    model = tiny.model()
    method.finish(tiny.fit({"recipe": method.source}, data, **SETTINGS).delta).add_to(model)
    nll = token_losses(model, data, tiny.END_ID, 1_000, "float32", "losses")
    return [torch.cat([nll[n] for n in step]).mean().item() for step in batches.steps(EXAMPLES, BATCH, EPOCHS, seed=0)]


@pytest.mark.parametrize("recipe", methods.names())
def test_twenty_steps_lose_what_they_lost_before(recipe):
    path = GOLDEN / f"{recipe}.json"
    assert path.exists(), f"no curve of {recipe}; run python tests/test_golden.py --write"
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert len(expected) == 20
    assert curve(recipe) == pytest.approx(expected, rel=1e-5)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("python tests/test_golden.py --write renews tests/golden")
    GOLDEN.mkdir(exist_ok=True)
    for name in methods.names():
        (GOLDEN / f"{name}.json").write_text(json.dumps(curve(name), indent=1) + "\n", encoding="utf-8")
