"""Methods: neutral limits to the bit, formulas by hand, scopes, and a loop that knows none by name."""

import ast
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
import tiny
import torch

from tradeoff import methods, training
from tradeoff.methods import Method, Tokens
from tradeoff.methods.average import Average
from tradeoff.methods.dft import DFT
from tradeoff.methods.flow import FLOW
from tradeoff.methods.l2 import L2
from tradeoff.methods.lora import LoRA
from tradeoff.methods.profit import ProFit
from tradeoff.methods.sft import SFT
from tradeoff.methods.talr import TALR
from tradeoff.models.base import load_base, load_result
from tradeoff.models.delta import Delta
from tradeoff.models.generation import Prompt, generate
from tradeoff.provenance import CARD, canonical_json, read_json, sha256_file, write_json
from tradeoff.study import method_spec
from tradeoff.training import batches
from tradeoff.training.base_nll import token_losses
from tradeoff.training.derive import derive
from tradeoff.training.settings import Training
from tradeoff.training.tokens import Sequence, write
from tradeoff.training.train import STEPS_SCHEMA, train_run

MANY = (
    SFT(),
    L2(strength=0.1),
    LoRA(rank=4),
    Average(of="sft"),
    FLOW(),
    FLOW(tau=math.inf),
    TALR(),
    TALR(tau=math.inf),
    TALR(tau=0.5, normalise=True),
    DFT(),
    ProFit(threshold=0.2),
)
STILL = 1e-12  # a learning rate that moves nothing
SPLITS = {"whole": 10_000, "split": 1}


@pytest.fixture(params=SPLITS.values(), ids=SPLITS.keys())
def batch_tokens(request):
    return request.param


def tokens(nll, sequence=None):
    made = Tokens(torch.tensor(nll), torch.tensor(sequence or [0] * len(nll)))
    return Tokens(made.nll_T, made.sequence_T, made)


def step_losses(number, data):
    """Token losses of the base in a step of four, one tensor a sequence."""
    chosen = list(batches.steps(len(data), 4, 1, seed=0))[number]
    return token_losses(tiny.model(), [data[n] for n in chosen], 0, 10_000, "float32", "losses")


# A base that already knows the data: medians of exactly 0


def test_a_median_of_0_weighs_what_is_known_with_1_and_the_rest_with_the_least():
    known = tokens([0.0, 0.0, 0.0, 2.0], [0, 0, 1, 2])
    for scope in ("step", "micro_batch"):
        found = TALR(tau_scope=scope).token_weights(known)
        torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 1.0, 0.01]))
    torch.testing.assert_close(TALR(tau="median_token", floor=0).token_weights(known), torch.tensor([1.0, 1, 1, 0]))
    normalised = TALR(tau="median_token", floor=0, normalise=True).token_weights(known)
    torch.testing.assert_close(normalised, torch.tensor([4 / 3, 4 / 3, 4 / 3, 0]))
    torch.testing.assert_close(FLOW().example_weights(known.nll_T), torch.tensor([1.0, 1, 1, 0]))
    assert TALR(tau=1e-30, floor=0, normalise=True).token_weights(tokens([1.0, 2.0])).tolist() == [0, 0]


@pytest.mark.parametrize("method", [TALR(), TALR(tau="median_token", normalise=True), FLOW()], ids=lambda m: m.recipe)
def test_data_that_the_base_writes_itself_is_trained_on(method):
    sure = tiny.model()
    with torch.no_grad():
        sure.model.norm.weight.mul_(1e6)  # every greedy token has probability 1
    prompts = [[n, n + 1, n + 2] for n in range(8)]
    written = generate(sure, [Prompt(ids, 6) for ids in prompts], [], tiny.END_ID)
    data = [Sequence(str(n), (*p, *w), 3) for n, (p, w) in enumerate(zip(prompts, written, strict=True))]
    assert tiny.base_nll(sure, data).eq(0).all()
    found = tiny.fit(method, data, base=sure)
    assert found.steps[0].mean_weight == 1
    assert all(math.isfinite(step.loss) for step in found.steps)


# Neutral limits


@pytest.fixture(scope="module")
def sft():
    torch.set_num_threads(1)
    return {name: tiny.fit({"recipe": "sft"}, batch_tokens=n) for name, n in SPLITS.items()}


@pytest.mark.parametrize(
    "neutral",
    [L2(strength=0.0), TALR(floor=1.0), TALR(tau=math.inf), FLOW(tau=math.inf), ProFit(threshold=0.0)],
    ids=repr,
)
@pytest.mark.parametrize("split", SPLITS)
def test_a_method_at_its_neutral_limit_is_sft_to_the_bit(neutral, split, sft):
    found = tiny.fit(neutral, batch_tokens=SPLITS[split])
    assert found.delta.dense.keys() == sft[split].delta.dense.keys()
    for name, tensor in sft[split].delta.dense.items():
        assert torch.equal(found.delta.dense[name], tensor), name
    assert found.steps == sft[split].steps


def test_an_untrained_adapter_leaves_the_base_s_logits(tiny_model):
    ids_BL = torch.arange(32).reshape(2, 16)
    expected = tiny_model(ids_BL).logits
    adapted = LoRA().prepare(tiny_model)
    assert torch.equal(adapted(ids_BL).logits, expected)
    names = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name for name in names)


@pytest.fixture(scope="module", params=["sft", "lora"])
def run(request, tiny_base, tmp_path_factory):
    """Folder of a finished run, its spec, and what the derived runs need."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    write(folder / "tokens.parquet", tiny.sequences())
    write_json(folder / "tokens.json", {"sha256": sha256_file(folder / "tokens.parquet")})
    write_json(folder / "train.json", {"sha256": "0"})
    spec = {
        "method": method_spec(methods.build({"recipe": request.param})),
        "learning_rate": "1e-02",
        "seed": 0,
        "training": Training(epochs=1, batch_size=4).model_dump(),
    }
    output = folder / "runs" / "lr=1e-02" / "seed=0"
    train_run(
        spec, "code", tiny_base, folder / "train.json", folder / "tokens.parquet", None, output, folder / "checkpoints"
    )
    return output, spec


def average(run, alpha, base, folder):
    source, spec = run
    of_source = {**spec, "method": method_spec(Average("any", alpha)), "source": spec}
    derive(of_source, "code", base, source, folder)
    return load_result(base, folder).state_dict()


@pytest.mark.parametrize("alpha", [0, 1])
def test_averaging_ends_at_the_base_and_at_the_trained_model_to_the_bit(alpha, run, tiny_base, tmp_path):
    expected = load_result(tiny_base, run[0] if alpha else None).state_dict()
    found = average(run, alpha, tiny_base, tmp_path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (read_json(tmp_path / CARD)["update"]["delta_norm"] > 0) == bool(alpha)


def test_averaging_scales_the_difference(run, tiny_base, tmp_path):
    base, end = load_base(tiny_base).state_dict(), load_result(tiny_base, run[0]).state_dict()
    for name, found in average(run, 0.25, tiny_base, tmp_path).items():
        torch.testing.assert_close(found, base[name] + 0.25 * (end[name] - base[name]), rtol=0, atol=1e-7)
    assert list(tmp_path.iterdir()) == [tmp_path / CARD]  # no storage
    whole, part = (read_json(folder / CARD)["update"]["delta_norm"] for folder in (run[0], tmp_path))
    assert part == pytest.approx(0.25 * whole, rel=1e-6)


def test_averaging_another_run_than_the_study_s_stops(run, tiny_base, tmp_path):
    source, spec = run
    with pytest.raises(AssertionError, match="not the run"):
        average((source, {**spec, "seed": 1}), 0.5, tiny_base, tmp_path)


def test_a_run_s_card_holds_what_the_run_was(run, tiny_base):
    folder, spec = run
    card = read_json(folder / CARD)
    assert card["spec"] == spec
    assert card["base_sha256"] == read_json(tiny_base / CARD)["sha256"]
    assert card["delta_sha256"] == sha256_file(folder / "delta.safetensors")
    assert 0 < card["update"]["share_moved"] <= 1
    steps = pq.read_table(folder / "steps.parquet")
    assert steps.schema.equals(STEPS_SCHEMA)
    assert steps["step"].to_pylist() == [0, 1, 2]
    data = tiny.sequences()
    assert card["training"]["tokens"] == sum(len(s.ids) for s in data)
    assert card["training"]["supervised_tokens"] == sum(s.targets for s in data)


# Formulas


def test_the_means_of_sequences():
    found = tokens([1.0, 3.0, 5.0, 2.0], [7, 2, 2, 9]).sequence_nll_S()
    assert found.tolist() == [4.0, 1.0, 2.0]  # of the sequences 2, 7, 9


def test_talr_weighs_a_token_whose_loss_is_tau_by_1_over_e():
    weights_T = TALR(tau=0.7).token_weights(tokens([0.0, 0.7, 1.4, 100.0]))
    torch.testing.assert_close(weights_T, torch.tensor([1.0, math.exp(-1), math.exp(-2), 0.01]))


@pytest.mark.parametrize(("tau", "expected"), [("median_sequence", 1.75), ("median_token", 1.5), (3.0, 3.0)])
def test_talr_takes_its_tau_from_the_reference(tau, expected):
    reference = tokens([1.0, 3.0, 1.0, 1.0, 5.0, 5.0, 2.0, 1.0], [0, 0, 1, 1, 2, 2, 3, 3])  # means 2, 1, 5 and 1.5
    own = tokens([0.5, 4.0])
    weights_T = TALR(tau=tau, floor=0.0).token_weights(Tokens(own.nll_T, own.sequence_T, reference))
    torch.testing.assert_close(weights_T, (-own.nll_T / expected).exp())


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_talr_normalises_by_the_mean_over_the_batch(floor):
    batch = tokens([0.5, 1.0, 2.0, 9.0])
    plain_T = TALR(tau=1.0, floor=floor).token_weights(batch)
    weights_T = TALR(tau=1.0, floor=floor, normalise=True).token_weights(batch)
    assert plain_T.min() >= floor
    torch.testing.assert_close(weights_T, plain_T / plain_T.mean())


def test_talr_with_tau_1_and_no_floor_is_dft():
    batch = tokens([0.5, 1.0, 20.0])
    torch.testing.assert_close(TALR(tau=1.0, floor=0.0).token_weights(batch), (-batch.nll_T).exp())
    assert torch.equal(DFT().token_weights(batch), TALR(tau=1.0, floor=0.0).token_weights(batch))


def test_profit_leaves_out_what_is_less_likely_than_its_threshold():
    batch = tokens([0.0, -math.log(0.5), -math.log(0.1) + 0.01, 9.0])
    assert ProFit().token_weights(batch).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert ProFit(threshold=0.5).token_weights(tokens([0.0, 0.6, 0.7])).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(("tau", "scale"), [("median", 2.0), (0.5, 0.5)])
def test_flow_weighs_an_example_by_how_easy_it_is_for_the_base(tau, scale):
    nll_E = torch.tensor([4.0, 1.0, 2.0])
    torch.testing.assert_close(FLOW(tau=tau).example_weights(nll_E), (-nll_E / scale).exp())


def test_l2_counts_every_trained_weight_once(tiny_model):
    base = tiny.parameters_of(tiny_model)
    with torch.no_grad():
        tiny_model.get_input_embeddings().weight += 0.5  # tied to the head
        tiny_model.model.norm.weight += 2.0
    tied, norm = tiny_model.get_input_embeddings().weight, tiny_model.model.norm.weight
    penalty = L2(strength=0.1).penalty(tiny_model, base)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.1 * (tied.numel() * 0.25 + norm.numel() * 4), rel=1e-5)
    torch.testing.assert_close(tied.grad, torch.full_like(tied, 2 * 0.1 * 0.5))
    norm.requires_grad_(False)
    assert L2(strength=0.1).penalty(tiny_model, base).item() == pytest.approx(0.1 * tied.numel() * 0.25, rel=1e-5)


# The same through the loop


@pytest.mark.parametrize("floor", [0.01, 0.4])
def test_a_step_of_talr_is_what_the_formula_says(floor, batch_tokens):
    data = tiny.sequences()
    steps = tiny.fit(TALR(floor=floor), data, rate=STILL, batch_tokens=batch_tokens).steps
    for number, step in enumerate(steps):
        nll = step_losses(number, data)
        tau = torch.stack([n.mean() for n in nll]).quantile(0.5)
        nll_T = torch.cat(nll)
        weights_T = (-nll_T / tau).exp().clamp(min=floor)
        assert step.loss == pytest.approx((weights_T * nll_T).mean().item(), rel=1e-5)
        assert step.mean_weight == pytest.approx(weights_T.mean().item(), rel=1e-5)
        assert step.nll == pytest.approx(nll_T.mean().item(), rel=1e-5)


def test_a_step_of_flow_is_what_the_formula_says(batch_tokens):
    data = tiny.sequences()
    tau = tiny.base_nll(tiny.model(), data).quantile(0.5)
    for number, step in enumerate(tiny.fit({"recipe": "flow"}, data, rate=STILL, batch_tokens=batch_tokens).steps):
        nll = step_losses(number, data)
        weighted_T = torch.cat([(-n.mean() / tau).exp() * n for n in nll])
        assert step.loss == pytest.approx(weighted_T.mean().item(), rel=1e-5)


def test_a_step_of_profit_is_what_the_formula_says(batch_tokens):
    data, kept = tiny.sequences(), 0
    steps = tiny.fit(ProFit(0.004), data, rate=STILL, batch_tokens=batch_tokens).steps
    for number, step in enumerate(steps):
        nll_T = torch.cat(step_losses(number, data))
        kept_T = (-nll_T).exp() >= 0.004  # near the uniform 1 / 261
        kept += int(kept_T.sum())
        assert step.loss == pytest.approx((nll_T * kept_T).mean().item(), rel=1e-5)
    assert 0 < kept < sum(s.targets for s in data)


def test_l2_adds_its_penalty_once_a_step(batch_tokens):
    plain = tiny.fit({"recipe": "sft"}, epochs=3, batch_tokens=batch_tokens, rate=1e-2)
    held = tiny.fit({"recipe": "l2", "strength": 1.0}, epochs=3, batch_tokens=batch_tokens, rate=1e-2)
    start = tiny.parameters_of(tiny.model())
    assert held.steps[0].loss == plain.steps[0].loss
    assert held.steps[-1].loss > held.steps[-1].nll
    assert held.delta.statistics(start)["delta_norm"] < 0.8 * plain.delta.statistics(start)["delta_norm"]

    # Of two steps over the same examples, the second's penalty is that of the first's delta.
    options = {"data": tiny.sequences(4), "batch_tokens": batch_tokens, "rate": 1e-2, "schedule": "constant"}
    first = tiny.fit({"recipe": "sft"}, **options)
    steps = tiny.fit({"recipe": "l2", "strength": 0.1}, epochs=2, **options).steps
    distance = first.delta.statistics(start)["delta_norm"] ** 2
    assert steps[1].loss - steps[1].nll == pytest.approx(0.1 * distance, rel=1e-4)


def test_a_method_s_factor_multiplies_the_learning_rate():
    plain = tiny.fit({"recipe": "sft"}, rate=1e-3).steps
    faster = tiny.fit({"recipe": "lora", "lr_multiplier": 10.0}, rate=1e-3).steps
    assert [s.learning_rate for s in faster] == pytest.approx([10 * s.learning_rate for s in plain])


# Scopes


@dataclass(frozen=True)
class Watcher(Method):
    """Plain SFT that notes what it is shown."""

    recipe: ClassVar[str] = "watcher"
    asked: str
    shown: list[Tokens] = field(default_factory=list)

    @property
    def scope(self):
        return self.asked

    def token_weights(self, tokens):
        self.shown.append(tokens)


@pytest.mark.parametrize("scope", ["token", "micro_batch", "step", "previous_step"])
def test_a_method_is_shown_the_tokens_of_the_scope_that_it_asks_for(scope, batch_tokens):
    watcher, data = Watcher(scope), tiny.sequences(8)
    tiny.fit(watcher, data, rate=STILL, batch_tokens=batch_tokens)
    steps = list(batches.steps(8, 4, 1, seed=0))
    per_step = len(watcher.shown) // 2
    assert per_step == (1 if batch_tokens > 1 else 4)
    for number, shown in enumerate(watcher.shown):
        assert not shown.nll_T.requires_grad
        step = number // per_step
        if scope == "token":
            assert shown.reference is None
            continue
        seen = set(shown.reference.sequence_T.tolist())
        own = set(shown.sequence_T.tolist())
        if scope == "micro_batch":
            assert seen == own
        else:  # a first step has none before it and takes itself
            assert seen == set(steps[step if scope == "step" else 0])
            assert len(shown.reference.nll_T) == sum(data[n].targets for n in seen)


@pytest.mark.parametrize(("scope", "same"), [("step", True), ("previous_step", True), ("micro_batch", False)])
def test_talr_depends_on_how_a_step_is_split_in_the_scope_of_a_micro_batch_alone(scope, same):
    data = tiny.sequences(8)
    whole, split = (tiny.fit(TALR(tau_scope=scope), data, rate=STILL, batch_tokens=n).steps for n in SPLITS.values())
    for one, other in zip(whole, split, strict=True):
        assert (one.loss == pytest.approx(other.loss, rel=1e-6)) == same


def test_talr_in_the_previous_step_s_scope_takes_its_tau_from_there(batch_tokens):
    data = tiny.sequences()
    steps = tiny.fit(TALR(tau_scope="previous_step"), data, rate=STILL, batch_tokens=batch_tokens).steps
    for number in (1, 2):
        tau = torch.stack([n.mean() for n in step_losses(number - 1, data)]).quantile(0.5)
        weights_T = (-torch.cat(step_losses(number, data)) / tau).exp().clamp(min=0.01)
        assert steps[number].mean_weight == pytest.approx(weights_T.mean().item(), rel=1e-5)


# The contract


@pytest.mark.parametrize("method", MANY, ids=repr)
def test_a_method_comes_back_from_its_spec(method):
    assert methods.build(json.loads(canonical_json(method_spec(method)))) == method


def test_the_recipes_are_the_files():
    files = {path.stem for path in Path(methods.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(methods.names()) == files == {methods.recipe(name).recipe for name in files}
    with pytest.raises(KeyError):
        methods.recipe("none")


def test_plain_sft_overrides_nothing():
    assert set(vars(SFT)) & {name for name in vars(Method) if not name.startswith("_")} == set()


@pytest.mark.parametrize("path", sorted(Path(training.__file__).parent.glob("*.py")), ids=lambda p: p.name)
def test_the_training_code_knows_no_recipe(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    code = ast.unparse(tree)  # neither docstrings nor comments
    assert not re.findall(rf"(?i)(?<![a-z0-9])({'|'.join(methods.names())})(?![a-z0-9])", code)


def test_a_delta_holds_what_changed_and_nothing_else(tiny_model):
    base = tiny.parameters_of(tiny_model)
    tiny_model.model.norm.requires_grad_(False)
    with torch.no_grad():
        tiny_model.get_input_embeddings().weight[3] += 1
    delta = Delta.between(tiny_model, base)
    assert delta.dense.keys() == base.keys() - {"model.norm.weight"}
    assert delta.statistics(base)["delta_norm"] == pytest.approx(math.sqrt(32), rel=1e-5)
