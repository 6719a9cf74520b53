"""The solvable model's identities and limits, its claims by hand, and the theory's tables from known losses."""

import itertools
import math

import made
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_statistics import run, share, study, updates

from tradeoff.errors import UserError
from tradeoff.methods import Tokens
from tradeoff.methods.average import Average
from tradeoff.methods.dft import DFT
from tradeoff.methods.flow import FLOW
from tradeoff.methods.profit import ProFit
from tradeoff.methods.sft import SFT
from tradeoff.methods.talr import TALR
from tradeoff.report.figures import spec_of, svg
from tradeoff.tables import schemas
from tradeoff.tables.tradeoff import tradeoff
from tradeoff.theory import exact, figures, tilting
from tradeoff.theory.code_length import code_length
from tradeoff.theory.exact import Data, Tree, World
from tradeoff.theory.prediction import prediction, runs, spearman
from tradeoff.theory.token_difficulty import hard_tokens, kind, token_difficulty
from tradeoff.theory.token_weights import token_weights, weight_shares

SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.floats(0, 20)
quick = settings(max_examples=40, deadline=None)


def world(seed: int, contexts: int = 5, tokens: int = 4) -> World:
    """Random distributions, none of them another's."""
    draw = np.random.default_rng(seed)

    def data() -> Data:
        return Data(draw.uniform(0.1, 2, contexts), draw.dirichlet(np.full(tokens, 0.5), contexts))

    base_CV, general_GV = (draw.dirichlet(np.ones(tokens), contexts) + 1e-6 for _ in range(2))
    base_CV, general_GV = (q / q.sum(axis=1, keepdims=True) for q in (base_CV, general_GV))
    return World(base_CV, data(), general_GV, data(), np.eye(contexts))


def cost(of: World, step: float, weighting: exact.Weighting = exact.sft) -> float:
    score_GV = of.leak_GC @ exact.score(of.domain, of.base_CV, weighting)
    return exact.change(of.general, np.log(of.general_base_GV), score_GV, step)


# Identities


@quick
@given(SEEDS, STEPS)
def test_the_change_of_code_length_is_the_difference_of_two_divergences(seed, step):
    of, draw = world(seed), np.random.default_rng(seed)
    score_CV = draw.normal(size=of.base_CV.shape)
    tilted_CV = of.base_CV * np.exp(step * score_CV)
    tilted_CV /= tilted_CV.sum(axis=1, keepdims=True)
    p_CV = np.maximum(of.domain.token_CV, 1e-300)
    old, new = ((p_CV * np.log(p_CV / q)).sum(axis=1) for q in (of.base_CV, tilted_CV))
    expected = float((of.domain.visits_C * (new - old)).sum())
    log_CV = np.log(of.base_CV)
    found = exact.change(of.domain, log_CV, score_CV, step)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    moved = exact.tilt(log_CV, score_CV, step)
    assert np.exp(moved).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-12)
    difference = exact.code_length(of.domain, moved) - exact.code_length(of.domain, log_CV)
    assert found == pytest.approx(difference, rel=1e-12, abs=1e-12)


@quick
@given(SEEDS, st.integers(1, 3), st.integers(2, 4))
def test_a_tree_s_code_length_is_that_of_its_sequences(seed, depth, branching):
    tree, draw = Tree(depth, branching), np.random.default_rng(seed)
    p_CV, q_CV = (draw.dirichlet(np.ones(branching), tree.contexts) + 1e-9 for _ in range(2))
    p_CV, q_CV = (each / each.sum(axis=1, keepdims=True) for each in (p_CV, q_CV))
    assert tree.sequences(p_CV).sum() == pytest.approx(1, abs=1e-12)
    of_sequences = -float((tree.sequences(p_CV) * np.log(tree.sequences(q_CV))).sum())
    assert exact.code_length(tree.data(p_CV), np.log(q_CV)) == pytest.approx(of_sequences, rel=1e-12)


def test_a_tree_by_hand():
    tree = Tree(2, 2)
    token_CV = np.array([[0.25, 0.75], [0.5, 0.5], [0.2, 0.8]])
    assert tree.contexts == 3
    assert tree.visits(token_CV).tolist() == [1, 0.25, 0.75]
    assert tree.sequences(token_CV) == pytest.approx([0.125, 0.125, 0.15, 0.6])


def test_a_step_by_hand():
    one = Data(np.ones(1), np.array([[1.0, 0.0]]))
    base_CV = np.array([[0.2, 0.8]])
    score_CV = exact.score(one, base_CV)
    assert score_CV.tolist() == [[0.8, -0.8]]
    odds = 0.25 * math.exp(2 * 1.6)
    found = exact.change(one, np.log(base_CV), score_CV, 2.0)
    assert found == pytest.approx(-math.log(odds / (1 + odds) / 0.2), abs=1e-14)


@quick
@given(SEEDS, st.floats(0.01, 2))
def test_the_score_is_minus_the_gradient_of_the_code_length(seed, step):
    of, small = world(seed), 1e-6
    log_CV = np.log(of.base_CV)
    score_CV = exact.score(of.domain, of.base_CV)
    for place in ((0, 0), (2, 3)):
        nudge_CV = np.zeros_like(log_CV)
        nudge_CV[place] = 1
        slope = exact.change(of.domain, log_CV, nudge_CV, small) / small
        assert slope == pytest.approx(-score_CV[place], abs=1e-5)


# Bounds


@quick
@given(SEEDS, STEPS)
def test_bounds_are_above_and_meet_the_change_at_small_steps(seed, step):
    of = world(seed)
    score_CV = exact.score(of.domain, of.base_CV)
    for data in (of.domain, of.general):
        found = exact.bounds(data, np.log(of.base_CV), score_CV, step)
        slack = 1e-12 * (1 + abs(found.exact))
        assert found.exact <= found.hoeffding + slack
        assert found.exact <= found.bennett + slack
        small = exact.bounds(data, np.log(of.base_CV), score_CV, 1e-4)
        assert small.second_order == pytest.approx(small.exact, abs=1e-10)
        assert small.bennett == pytest.approx(small.exact, abs=1e-10)


@quick
@given(SEEDS)
def test_the_cost_on_the_base_s_own_text_is_no_less_than_nothing_and_rises_with_the_step(seed):
    of = world(seed)
    own = World(of.base_CV, of.domain, of.base_CV, Data(of.domain.visits_C, of.base_CV), np.eye(5))
    costs = [cost(own, step) for step in (0, 0.1, 0.3, 1, 3, 10)]
    assert costs == sorted(costs)
    assert costs[0] == 0


# Limits


@quick
@given(SEEDS, st.sampled_from(["strength", "share", "pooled"]), st.floats(0.01, 10))
def test_without_leak_or_step_nothing_is_forgotten_to_the_bit(seed, reading, step):
    of = world(seed)
    assert cost(of.leaking(0.0, reading), step) == 0
    assert cost(of.leaking(0.7, reading), 0.0) == 0
    log_CV = np.log(of.base_CV)
    assert np.array_equal(exact.tilt(log_CV, exact.score(of.domain, of.base_CV), 0.0), log_CV)
    assert exact.largest_safe_step(of.leaking(0.0, reading), 0.1) == math.inf
    found = exact.walk(of.leaking(0.0, reading), 0.1, 1e-3)
    assert found is not None
    assert found.cost == 0
    assert found.gain == pytest.approx(1e-3, abs=1e-12)


@quick
@given(SEEDS, st.floats(0.01, 5))
def test_whole_leaks_of_strength_and_share_are_the_same(seed, step):
    of = world(seed)
    assert cost(of.leaking(1.0, "strength"), step) == cost(of.leaking(1.0, "share"), step)
    assert cost(of.leaking(0.3, "share"), step) == pytest.approx(0.3 * cost(of.leaking(1, "share"), step), rel=1e-12)


def test_a_domain_that_the_base_knows_has_no_hard_token_and_moves_nothing():
    of = world(1)
    known = World(of.base_CV, Data(np.ones(5), of.base_CV), of.general_base_GV, of.general, np.eye(5))
    assert np.abs(exact.score(known.domain, known.base_CV)).max() < 1e-15
    sure = np.tile([1 - 3e-16, 1e-16, 1e-16, 1e-16], (5, 1))
    certain = World(sure, Data(np.ones(5), np.tile([1.0, 0, 0, 0], (5, 1))), sure, Data(np.ones(5), sure), np.eye(5))
    assert cost(certain, 1.0) == pytest.approx(0, abs=1e-12)


@quick
@given(SEEDS, st.floats(0.001, 0.5))
def test_the_largest_safe_step_spends_the_budget(seed, budget):
    of = world(seed).leaking(0.5, "strength")
    safe = exact.largest_safe_step(of, budget)
    assert cost(of, safe) == pytest.approx(budget, abs=1e-9)
    assert cost(of, safe * 1.01) > budget
    assert cost(of, safe / 2) <= budget


@quick
@given(SEEDS, st.sampled_from(["strength", "share"]), st.floats(0.05, 0.95))
def test_the_largest_safe_leak_spends_the_budget(seed, reading, share):
    of = world(seed)
    own = World(of.base_CV, of.domain, of.base_CV, Data(of.domain.visits_C, of.base_CV), np.eye(5))
    budget = share * cost(own.leaking(1.0, reading), 1.0)
    leak = exact.largest_safe_leak(own, 1.0, budget, reading)
    assert 0 < leak < 1
    assert cost(own.leaking(leak, reading), 1.0) == pytest.approx(budget, rel=1e-9)
    assert exact.largest_safe_leak(own, 1.0, 2 * budget / share, reading) == 1


# Walks


@quick
@given(SEEDS, st.floats(0.02, 2))
def test_a_fixed_score_s_cost_of_a_gain_does_not_depend_on_the_step(seed, step):
    of = world(seed).leaking(0.4, "strength")
    gain = 0.01
    one, other = (exact.walk(of, s, gain, reading="fixed") for s in (step, step / 3))
    assert one is not None
    assert other is not None
    assert one.gain == pytest.approx(gain, abs=1e-12)
    assert one.cost == pytest.approx(other.cost, abs=1e-11)
    assert one.steps * step == pytest.approx(other.steps * step / 3, rel=1e-8)


@pytest.mark.parametrize("method", exact.WEIGHTINGS)
def test_a_walk_is_bounded_by_its_steps_bounds(method):
    of = tilting.response(2).leaking(0.3, "strength")
    found = exact.walk(of, 0.5, 1.0, exact.WEIGHTINGS[method])
    assert found is not None
    assert found.gain == pytest.approx(1.0, abs=1e-12)
    assert 0 < found.cost <= found.bound


def test_a_mask_never_gains_what_hard_tokens_alone_can_give():
    assert exact.walk(tilting.response(20), 0.5, 1.0, exact.mask) is None
    assert exact.walk(tilting.response(20), 0.5, 1.0, exact.sft) is not None


def test_a_sampled_walk_is_the_same_for_the_same_seed_and_dearer_at_large_steps():
    of = tilting.tree().leaking(0.2, "strength")
    gain = tilting.Setting("tree", of).possible / 4
    assert exact.walk(of, 1.0, gain, reading="sampled", seed=3) == exact.walk(of, 1.0, gain, reading="sampled", seed=3)
    costs = [
        np.mean([exact.walk(of, step, gain, reading="sampled", seed=n).cost for n in range(8)]) for step in (0.1, 1, 3)
    ]
    assert costs == sorted(costs)


def test_the_weightings_are_the_methods(request):
    nll_T = torch.tensor([0.05, 0.3, 1.0, 2.5, 6.0], dtype=torch.float64)
    alone = Tokens(nll_T, torch.zeros(5, dtype=torch.long))
    tokens = Tokens(alone.nll_T, alone.sequence_T, alone)
    p_CV = np.stack([np.exp(-nll_T.numpy()), 1 - np.exp(-nll_T.numpy())], axis=1)
    domain = Data(np.ones(5), np.tile([1.0, 0.0], (5, 1)))
    for weighting, method in ((exact.talr, TALR()), (exact.dft, DFT()), (exact.mask, ProFit())):
        assert weighting(p_CV, domain)[:, 0] == pytest.approx(method.token_weights(tokens).numpy(), rel=1e-12)


def test_distributions_read_off_a_model():
    probabilities_TV = np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8]], dtype=np.float32)
    of = tilting.read_off(probabilities_TV, np.array([0, 1]))
    expected = -math.log(0.7) - math.log(0.15)
    assert exact.code_length(of.domain, np.log(of.base_CV)) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="column of its own"):
        tilting.read_off(probabilities_TV[:, :2], np.array([0, 1]))


# The claims


@pytest.fixture(scope="module")
def claims():
    patch = pytest.MonkeyPatch()
    patch.setattr(tilting, "DRAWS", 2)
    patch.setattr(tilting, "MOST_STEPS", 60)
    patch.setattr(tilting, "STEPS", (0.3, 1.0))
    draw = np.random.default_rng(0)
    probabilities_TV = draw.dirichlet(np.full(6, 0.3), 10)
    found = tilting.table({"real": tilting.read_off(probabilities_TV, probabilities_TV.argmax(axis=1))})
    patch.undo()
    return found


def test_the_claims_fit_their_schema(claims, tmp_path):
    schemas.write(tmp_path / "tilting.parquet", claims, schemas.TILTING)
    assert len(schemas.read(tmp_path / "tilting.parquet")) == len(claims)
    assert set(claims["claim"]) == {"one step", "theorem 1", "theorem 2", "leakage", "equal gain"}


def test_what_docs_say_of_the_solvable_model(claims):
    two = claims[(claims["claim"] == "theorem 2")].set_index(["reading", "method", "hard_tokens"]).sort_index()
    safe = two.loc[("one step", "sft"), "safe"].tolist()
    assert safe == sorted(safe, reverse=True)  # supported for SFT
    safe = two.loc[("one step", "dft"), "safe"].tolist()
    assert safe == sorted(safe)  # not for DFT
    same = two.loc[("same nats", "sft"), "cost"].tolist()
    assert same == sorted(same, reverse=True)  # the other way round at equal nats
    leaks = claims[(claims["claim"] == "leakage") & (claims["reading"] == "cost")]
    for _, rows in leaks.groupby(["world", "leakage"]):
        assert rows["cost"].tolist() == sorted(rows["cost"])
        assert rows["cost"].iloc[0] == 0
    gain = claims[(claims["claim"] == "equal gain") & (claims["world"] == "response") & (claims["general"] == "own")]
    cheap = gain[gain["reading"] == "10% of the gain"].set_index(["leakage", "method"])["cost"]
    for leakage in ("strength", "share", "pooled"):
        assert cheap[leakage, "sft"] < cheap[leakage, "dft"]


# Tables of real runs


def text(run: str, item: int, nll: list[float], benchmark: str = "d", **of: object) -> dict:
    rate = None if run == "base" else 1e-4
    state = {"method": run, "recipe": run, "learning_rate": rate, "seed": None if run == "base" else 0}
    return {
        "run_id": run,
        "model": "m",
        "domain": None if run == "base" else "d",
        **state,
        "fraction": 0.0 if run == "base" else 1.0,
        "benchmark": benchmark,
        "item": f"{benchmark}-{item}",
        "token_nll": nll,
        "bytes": 4 * len(nll),
        **of,
    }


def texts() -> pd.DataFrame:
    rows = [
        *(text("base", i, nll) for i, nll in enumerate([[0.1, 2.0, 3.0], [1.0]])),
        *(text("base", i, nll, "base_text") for i, nll in enumerate([[1.0, 2.0], [3.0, 1.0]])),
        *(text("sft", i, nll) for i, nll in enumerate([[0.1, 1.0, 1.0], [0.4]])),
        *(text("sft", i, nll, "base_text") for i, nll in enumerate([[1.5, 2.0], [3.0, 1.5]])),
    ]
    return pd.DataFrame(rows)


STRINGS = {("m", "d", "d-0"): ["Age", " 64", " years"], ("m", "d", "d-1"): ["\n"]}


def test_code_length_by_hand(tmp_path):
    found = code_length(texts(), count=200)
    schemas.write(tmp_path / "code_length.parquet", found, schemas.CODE_LENGTH_TABLE)
    rows = found.set_index(["run_id", "side"])
    base, tuned = rows.loc[("base", "domain")], rows.loc[("sft", "domain")]
    assert base["code_length"] == pytest.approx(6.1 / 4)
    assert base["bits_per_token"] == pytest.approx(6.1 / 4 / math.log(2))
    assert base["bits_per_byte"] == pytest.approx(6.1 / 16 / math.log(2))
    assert (base["change"], base["change_low"], base["change_high"]) == (0, 0, 0)
    assert tuned["change"] == pytest.approx((2.5 - 6.1) / 4)
    assert tuned["change_low"] < tuned["change"] < tuned["change_high"]
    general = rows.loc[("sft", "general")]
    assert general["change"] == pytest.approx(0.25)
    # Paired: both texts lengthen by 0.5, and so does every replicate.
    assert general["change_low"] == pytest.approx(general["change_high"])
    assert (tuned["items"], tuned["tokens"], tuned["bytes"]) == (2, 4, 16)
    assert code_length(texts(), count=200).equals(found)


def test_code_length_of_other_items_stops():
    short = texts().drop(index=0)
    with pytest.raises(UserError, match="other items"):
        code_length(short)


def test_token_difficulty_by_hand(tmp_path):
    found = token_difficulty(texts(), STRINGS, count=200)
    schemas.write(tmp_path / "token_difficulty.parquet", found, schemas.TOKEN_DIFFICULTY)
    rows = found.set_index(["run_id", "kind"])
    base, tuned = rows.loc[("base", "all")], rows.loc[("sft", "all")]
    assert base["share_above_0.2"] == 0.5  # exp(-0.1) and exp(-1)
    assert tuned["share_above_0.2"] == 1
    assert base["share_hard"] == 0.5
    assert rows.loc[("base", "number"), "share_hard"] == 0.25
    assert set(found["kind"]) == {"all", "number", "unit", "format", "word"}


METHODS = {
    "sft": SFT(),
    "halved": Average("talr", 0.5),
    "talr": TALR(),
    "low": TALR(tau=1.0, floor=0.0),
    "flow": FLOW(),
}


def test_token_weights_by_hand(tmp_path):
    found = token_weights(texts(), STRINGS, METHODS)
    schemas.write(tmp_path / "token_weights.parquet", found, schemas.TOKEN_WEIGHTS)
    rows = found[found["kind"] == "all"].set_index(["run_id", "weighing"])
    base = rows.loc["base"]["weight_hard"]
    assert set(base.index) == set(METHODS)
    assert base["sft"] == rows.loc["base"]["share_hard"]["sft"] == 0.5
    tau = (5.1 / 3 + 1.0) / 2  # the median of two means is their mean
    for name, of_tau in (("talr", tau), ("halved", tau), ("low", 1.0)):
        weights = [math.exp(-n / of_tau) for n in (0.1, 2.0, 3.0, 1.0)]
        assert base[name] == pytest.approx(sum(weights[1:3]) / sum(weights)), name
    examples = [math.exp(-mean / tau) for mean in (1.7, 1.0)]
    assert base["flow"] == pytest.approx(2 * examples[0] / (3 * examples[0] + examples[1]))
    assert rows.loc["sft"].index.tolist() == ["sft"]
    numbers = found[(found["run_id"] == "base") & (found["kind"] == "number")].set_index("weighing")
    assert numbers.loc["sft", ["share", "share_hard", "weight", "weight_hard"]].tolist() == [0.25] * 4
    assert weight_shares(ProFit(), [np.array([0.1, 9.0])], np.array([4.5])).tolist() == [1, 0]
    assert weight_shares(ProFit(), [np.array([8.0, 9.0])], np.array([8.5])).tolist() == [0, 0]


def test_the_hardest_tokens_come_with_their_context(tmp_path):
    found = hard_tokens(texts(), STRINGS)
    schemas.write(tmp_path / "hard_tokens.parquet", found, schemas.HARD_TOKENS)
    base = found[found["method"] == "base"]
    assert base["token"].tolist() == [" years", " 64"]
    assert base["context"].tolist() == ["Age 64", "Age"]
    assert base["kind"].tolist() == ["unit", "number"]
    tuned = found[found["method"] == "sft"].set_index("rank")
    assert tuned.loc[1, "base_p"] == pytest.approx(math.exp(-3))
    assert tuned.loc[1, "p"] == pytest.approx(math.exp(-1))


@pytest.mark.parametrize(
    ("before", "token", "expected"),
    [
        ("Age ", "64", "number"),
        ("is 120", " mm", "unit"),
        ("is 120 mm", "Hg", "unit"),
        ("is 120 mm", " Hg", "unit"),
        ("2 mg/", "dL", "unit"),
        ("is 5", "%", "unit"),
        ("is 5", " m", "unit"),
        ("I am", " in", "word"),
        ("creat", "inine", "word"),
        ("The", " m", "word"),
        ("so", "\n\n", "format"),
        ("so", " =", "format"),
        ("so", "<|im_end|>", "format"),
    ],
)
def test_kinds_of_tokens(before, token, expected):
    assert kind(before, token) == expected


# Prediction


def test_rank_correlations_known_by_heart():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert spearman(x, x**3) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    assert spearman(x, np.array([2.0, 1.0, 4.0, 3.0, 5.0])) == pytest.approx(0.8)  # 1 - 6 * 4 / (5 * 24)
    assert math.isnan(spearman(x, np.ones(5)))
    assert math.isnan(spearman(x, np.array([2.0, 1.0, 4.0, 3.0, 5.0]), x))  # nothing of x is left


@quick
@given(SEEDS)
def test_a_partial_rank_correlation_is_the_formula_s(seed):
    x, y, z = np.random.default_rng(seed).normal(size=(3, 9))
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    if max(abs(xz), abs(yz)) < 0.99:
        expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
        assert spearman(x, y, z) == pytest.approx(expected, abs=1e-10)


def test_predictions_of_runs(tmp_path):
    weights = token_weights(texts(), STRINGS, METHODS)
    lengths = code_length(texts(), count=20)
    one = runs(lengths, weights, {"sft": 2.0}, {"sft": -0.1}).iloc[0]
    assert one["gain"] == pytest.approx(0.9)
    assert one["gain_times_rate"] == pytest.approx(0.9e-4)
    assert one["hard_weight"] == pytest.approx(0.5e-4)
    assert (one["delta_norm"], one["general_code_length"], one["general_score"]) == (2.0, pytest.approx(0.25), 0.1)
    many = pd.DataFrame([{**one, "gain": n, "general_code_length": n**2, "delta_norm": n % 3} for n in range(8)])
    found = prediction(many, count=100)
    schemas.write(tmp_path / "prediction.parquet", found, schemas.PREDICTION)
    row = found.set_index(["prediction", "outcome", "control"]).loc[("gain", "general_code_length", "none")]
    assert row["rho"] == row["rho_high"] == pytest.approx(1)
    assert row["p_value"] < 0.02
    assert found[found["outcome"] == "general_score"]["rho"].isna().all()  # it does not vary


# Figures


def test_the_interval_of_a_mean_over_seeds_holds_what_seeds_differ_by():
    """Two seeds whose own intervals are points: the mean of these would be a point too."""
    of = study(
        run("base", domain=[0.0] * 8, suite=share(4, 8)),
        run("sft", 1.0, 0, domain=[0.1] * 8, suite=share(4, 8), kl=[0.1] * 8),
        run("sft", 1.0, 1, domain=[0.9] * 8, suite=share(4, 8), kl=[0.5] * 8),
    )
    row = figures.code_length(tradeoff([of], updates(of))).table.set_index("method").loc["sft"]
    assert row[["x", "y"]].tolist() == pytest.approx([-0.5, 0.3])
    assert row["x_low"] < -0.9 < -0.1 < row["x_high"]
    assert row["y_low"] < 0.1 < 0.5 < row["y_high"]


@pytest.mark.parametrize(("methods", "models", "domains"), [(["sft", "l2"], 3, 4), (made.long_names(30), 1, 1)])
def test_no_figure_is_wide(claims, methods, models, domains):
    """A world for each model and domain is among those of tilting."""
    models = [f"a-model-that-is-instruct-of-long-name-{n}" for n in range(models)]
    pairs = list(itertools.product(models, [f"a_domain_of_my_own_with_a_long_name_{n}" for n in range(domains)]))
    results = made.copied(methods, models, list(dict.fromkeys(domain for _, domain in pairs)))

    def of_pairs(table, column, names):
        """Copies of the rows of one method for each name, and of the base's for each model and domain."""
        of_base = table["method"] == "base"
        copied = [(table[of_base], {})] if column == "method" else []
        copied += [(table[of_base != (column == "method")], {column: name}) for name in names]
        return pd.concat([rows.assign(model=m, domain=d, **one) for rows, one in copied for m, d in pairs])

    of_method = {"prediction": ["gain"], "outcome": ["general_code_length", "general_score"], "control": ["none"]}
    correlations = [
        {"model": m, "domain": d, **dict(zip(of_method, names, strict=True)), "rho": 0.5, "rho_low": 0, "rho_high": 1}
        for m, d in pairs
        for names in itertools.product(*of_method.values())
    ]
    worlds = [claims[claims["world"] == "real"].assign(world=f"{m} on {d}") for m, d in pairs]
    drawn = figures.why(
        {
            **{name: results.tables[name] for name in ("tradeoff", "trajectory")},
            "token_difficulty": of_pairs(token_difficulty(texts(), STRINGS, count=20), "method", methods),
            "token_weights": of_pairs(
                token_weights(texts(), STRINGS, {"sft": SFT()}).query("method == 'base'"), "weighing", methods
            ),
            "prediction": pd.DataFrame(correlations),
            "tilting": pd.concat([claims[claims["world"] != "real"], *worlds]),
        }
    )
    drawings = {figure.name: svg(figure) for figure in drawn}
    assert len(drawings) == 10
    assert {name: made.width(drawing) for name, drawing in drawings.items() if made.width(drawing) > 2000} == {}
    for name in ("code_length", "code_length_trajectories", "weights"):
        assert [method for method in methods if f">{method}<" not in drawings[name]] == [], name
    assert not [name for name, drawing in drawings.items() if "…" in drawing]


def test_every_figure_is_drawn_with_words(claims):
    difficulty, results = token_difficulty(texts(), STRINGS, count=20), made.study()
    many = [{"run_id": str(n), "gain": n, "delta_norm": n % 3, "general_code_length": n**2} for n in range(6)]
    others = {"model": "m", "domain": "d", "gain_times_rate": 1.0, "hard_weight": 1.0}
    drawn = [
        figures.code_length(results.tables["tradeoff"]),
        figures.code_length_trajectories(results.tables["trajectory"]),
        *(draw(claims) for draw in (figures.tilting_step, figures.theorem_1, figures.theorem_2)),
        *(draw(claims) for draw in (figures.leakage, figures.equal_gain)),
        figures.token_difficulty(difficulty),
        figures.weights(token_weights(texts(), STRINGS, METHODS)),
        figures.prediction(prediction(pd.DataFrame(many).assign(**others), count=10)),
    ]
    assert figures.code_length_trajectories(results.tables["trajectory"].iloc[:0]) is None
    assert figures.code_length(results.tables["tradeoff"].drop(columns="base_text_change")).table["y"].isna().all()
    assert len({figure.name for figure in drawn}) == len(drawn)
    for figure in drawn:
        assert "Assumed" in figure.caption
        assert "{" not in figure.caption
        assert figure.alt_text.endswith(".")
        assert spec_of(figure.chart)["$schema"]
