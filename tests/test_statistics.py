"""Statistics: one paired bootstrap, with answers known beforehand."""

import math
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeoff.errors import UserError
from tradeoff.evaluation import BASE_TEXT, BY_TEMPLATE, CODE_LENGTH, Benchmark
from tradeoff.report.terminal import summary
from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.against_paper import against_paper
from tradeoff.tables.bootstrap import coins, item_draws
from tradeoff.tables.comparisons import comparisons, mcnemar
from tradeoff.tables.hypotheses import hypotheses
from tradeoff.tables.pareto import dominated, front, hypervolume
from tradeoff.tables.recommendation import judge, recommendation
from tradeoff.tables.replicates import Metric, interval, replicates
from tradeoff.tables.standing import standing
from tradeoff.tables.tradeoff import tradeoff
from tradeoff.tables.trajectory import trajectory
from tradeoff.tables.verdicts import Rules, dominators
from tradeoff.tables.views import crossing, views

DOMAIN, SUITE = "sums", "suite"
BENCHMARKS = {
    DOMAIN: Benchmark(DOMAIN, "1", ("accuracy", CODE_LENGTH)),
    SUITE: Benchmark(SUITE, "1", ("exact_match",)),
    BASE_TEXT: Benchmark(BASE_TEXT, "1", ("kl", CODE_LENGTH), bounded=False),
}
SCORED = {DOMAIN: [SUITE]}
ONE_SEED = Rules(one_seed=True)
COST = {
    "delta_norm": 1.0,
    "share_moved": 0.5,
    "share_kept_bfloat16": 0.25,
    "tokens": 7,
    "seconds": 1.0,
    "flops": 9.0,
    "peak_memory_bytes": 3,
    "steps": 8,
}


def run(method, rate=None, seed=None, *, domain, suite, kl=None, recipe=None, weights=None, **more):
    """The samples of one run: outcomes of each item of each benchmark."""
    rows = []
    kl = [0.0] * len(domain) if kl is None else kl
    parts = {
        DOMAIN: [{"accuracy": float(v), CODE_LENGTH: 2.0 - v} for v in domain],
        SUITE: [{"exact_match": float(v)} for v in suite],
        BASE_TEXT: [{"kl": float(v), CODE_LENGTH: 1.0} for v in kl],
    }
    for name, items in parts.items():
        for number, values in enumerate(items):
            weight = 1.0 if weights is None or name != SUITE else weights[number]
            rows.append(
                {
                    "run_id": f"{method}-{rate}-{seed}",
                    "model": "tiny",
                    "domain": None if method == BASE else DOMAIN,
                    "method": method,
                    "recipe": recipe or method,
                    "learning_rate": rate,
                    "seed": seed,
                    "benchmark": name,
                    "item": f"{name}-{number:04}",
                    "truncated": False,
                    "invalid": number == 0,
                    "values": list(values.items()),
                    "weights": [(key, weight) for key in values],
                    "class_weights": [],
                    **more,
                }
            )
    return rows


def frame(*runs):
    return pd.DataFrame([row for rows in runs for row in rows]).astype({"learning_rate": "Float64", "seed": "Int32"})


def study(*runs, count=400, assumed_sd=0.0):
    """Without an assumed spread between trainings, so that what one seed shows is of items alone."""
    (of,) = replicates(frame(*runs), BENCHMARKS, SCORED, count, assumed_sd)
    return of


def share(ones, n=100):
    """n outcomes of which the first are 1."""
    return [1.0] * ones + [0.0] * (n - ones)


def updates(of, **norms):
    """The cards of all runs; norms by method and rate, such as sft_1."""
    return {
        run_id: COST | {"delta_norm": norms.get(f"{p.method}_{p.learning_rate:g}", 1.0)}
        for p, ids in zip(of.points[1:], of.runs[1:], strict=True)
        for run_id in ids
    }


def only(table, **wanted):
    rows = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def random_runs(seed=0, methods=("sft", "talr"), rates=(1.0, 2.0), seeds=(0, 1), n=12):
    rng = np.random.default_rng(seed)

    def draw():
        sides = {key: rng.integers(0, 2, n).tolist() for key in ("domain", "suite")}
        return sides | {"kl": rng.random(n).tolist()}

    runs = [run(BASE, **draw() | {"kl": [0.0] * n})]
    return runs + [run(m, r, s, **draw()) for m in methods for r in rates for s in seeds]


TABLES = {
    "comparisons": (lambda of: comparisons([of]), schemas.COMPARISONS),
    "pareto": (lambda of: front([of]), schemas.PARETO),
    "hypervolume": (lambda of: hypervolume([of]), schemas.HYPERVOLUME),
    "views": (lambda of: views([of], updates(of)), schemas.VIEWS),
    "recommendation": (lambda of: recommendation(judge([of])), schemas.RECOMMENDATION),
    "standing": (lambda of: standing(judge([of])), schemas.STANDING),
    "hypotheses": (lambda of: hypotheses([of]), schemas.HYPOTHESES),
    "tradeoff": (lambda of: tradeoff([of], updates(of)), schemas.tradeoff([SUITE, BASE_TEXT])),
}


# Replicates


def test_row_0_is_the_estimate_and_constants_have_intervals_with_a_width():
    """Nine of nine were gained; the tenth is as likely lost as a Laplace estimate of 1/11 says, and not never."""
    of = study(
        run(BASE, domain=share(0, 9), suite=share(9, 9)), run("sft", 1.0, 0, domain=share(9, 9), suite=share(9, 9))
    )
    assert of.domain_score[0].tolist() == [0.0, 1.0]
    found = interval("x", of.domain_change[:, 1])
    assert (found["x"], found["x_high"]) == (1.0, 1.0)
    assert 0.3 < found["x_low"] < 0.7
    nothing = interval("x", of.general_change[:, 1])
    assert nothing["x"] == 0.0
    assert -0.4 < nothing["x_low"] < -0.1
    assert 0.1 < nothing["x_high"] < 0.4


@pytest.mark.parametrize("n", [10, 60, 300])
def test_where_no_item_differs_the_standard_error_is_that_of_two_drawn_coins(n):
    """Of N = n + 2 items: each pseudo-item is drawn Bin(N, 1 / N) times and differs by -1, 0, 0 or 1."""
    of = study(
        run(BASE, domain=share(0, n), suite=share(n // 2, n)),
        run("sft", 1.0, 0, domain=share(0, n), suite=share(n // 2, n)),
        count=4000,
    )
    assert of.general_change[1:, 1].std() == pytest.approx((2 - 1 / (n + 2)) ** 0.5 / (n + 2), rel=0.05)


def test_models_that_answer_alike_differ_by_their_coins_alone():
    """Also in a weighted mean of numbers that no float holds, whatever stands beside them."""
    rng = np.random.default_rng(1)
    outcomes = [{"domain": rng.random(31), "suite": rng.random(31)} for _ in range(7)]
    weights = rng.random(31)
    alike = [run("sft", 1.0, 0, **outcomes[0], weights=weights), run("l2", 1.0, 0, **outcomes[0], weights=weights)]
    others = [run("flow", float(k), 0, **o, weights=weights) for k, o in enumerate(outcomes[1:], start=1)]
    of = study(run(BASE, **outcomes[0], weights=weights), alike[0], *others, alike[1])
    never = (item_draws(SUITE, 31, 400)[:, 31:] == 0).all(axis=1)
    assert never.sum() > 30
    for name in ("sft", "l2"):
        (point,) = of.methods[name]
        assert (of.general_change[never, point] == 0).all()
        assert (of.general_change[~never, point] != 0).any()
    found = comparisons([of])
    pair = found[(found["method"] == "l2") & (found["against"] == "sft")]
    assert set(pair["metric"]) == {"accuracy", CODE_LENGTH, "exact_match", "kl"}
    assert (pair[["difference", "better", "worse"]] == 0).all(axis=None)
    nats = pair[pair["metric"].isin([CODE_LENGTH, "kl"])]
    assert (nats[["difference_low", "difference_high"]] == 0).all(axis=None)


def test_the_bootstrap_of_a_mean_has_the_known_spread():
    of = study(
        run(BASE, domain=share(0), suite=share(50)), run("sft", 1.0, 0, domain=share(50), suite=share(50)), count=4000
    )
    assert of.domain_score[1:, 1].std() == pytest.approx(0.05, rel=0.05)
    span = interval("x", of.domain_change[:, 1])
    assert (span["x_low"], span["x_high"]) == pytest.approx((0.40, 0.60), abs=0.015)


def test_an_item_with_many_instructions_is_drawn_as_one():
    """Two prompts, of which one has 9 instructions, and pseudo-items of 5: of those in whole numbers."""
    of = study(
        run(BASE, domain=[0, 0], suite=[0, 0], weights=[1, 9]),
        run("sft", 1.0, 0, domain=[0, 0], suite=[0, 1], weights=[1, 9]),
    )
    drawn, tossed = item_draws(SUITE, 2, 400), coins(SUITE, of.points[1], 400)
    total = drawn @ [1, 9, 5, 5]
    assert of.general_score[:, 1] == pytest.approx((drawn @ [0, 9, 0, 0] + 5 * (drawn[:, 2:] * tossed).sum(1)) / total)
    assert of.general_score[0, 1] == pytest.approx(0.9)


# Seeds


def by_seed(rng, shift, n=200):
    """Items of which each is right with probability 1/2 and a shift of its training."""
    return (rng.random(n) < 0.5 + shift).astype(float).tolist()


def seeded(shifts, seed=0, n=200, rate=1.0):
    """A base, and methods with a list of shifts, one a seed."""
    rng = np.random.default_rng(seed)
    return [
        run(BASE, domain=by_seed(rng, 0.0, n), suite=by_seed(rng, 0.0, n)),
        *(
            run(name, rate, k, domain=by_seed(rng, shift, n), suite=by_seed(rng, shift, n))
            for name, of_method in shifts.items()
            for k, shift in enumerate(of_method)
        ),
    ]


def test_the_variance_between_trainings_is_that_of_run_means_less_the_items_share():
    """Analysis of variance by hand: items crossed with seeds, (MS seeds - MS residual) / items, pooled over methods."""
    runs = seeded({"sft": (0.2, -0.2, 0.0), "l2": (0.1, -0.1)})
    spread = study(*runs, count=2000).spreads[0][1]
    squares, residuals = [], []
    for method, freedom in (("sft", 2), ("l2", 1)):
        values = np.array(
            [
                [dict(r["values"])["accuracy"] for r in rows if r["benchmark"] == DOMAIN]
                for rows in runs[1:]
                if rows[0]["method"] == method
            ]
        )
        rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
        squares.append(values.mean(1).var(ddof=1) * freedom)
        residuals.append((rest**2).sum() / (values.shape[1] - 1) / values.shape[1])
    assert spread.freedom == 3
    assert spread.square == pytest.approx(sum(squares) / 3)
    assert spread.items == pytest.approx(sum(residuals) / 3, rel=0.1)
    assert spread.variance == pytest.approx((sum(squares) - sum(residuals)) / 3, rel=0.05)


def test_trainings_that_differ_by_their_items_alone_have_hardly_a_variance():
    spreads = [
        study(*seeded({"sft": (0.0, 0.0, 0.0), "l2": (0.0,) * 3}, seed), count=200).spreads[0][1] for seed in range(8)
    ]
    assert np.mean([s.square - s.items for s in spreads]) == pytest.approx(0.0, abs=6e-4)
    assert min(s.variance for s in spreads) == 0.0


def test_one_method_s_seeds_stand_for_all_at_their_rate_and_for_no_other_rate():
    runs = [*seeded({"sft": (0.05, -0.05, 0.0), "l2": (0.0,)}, n=2000), *seeded({"l2": (0.0,)}, n=2000, rate=2.0)[1:]]
    of = study(*runs, assumed_sd=0.02)
    (sft,), (l2, other) = of.methods["sft"], of.methods["l2"]
    assert of.spreads[0][sft] == of.spreads[0][l2]
    assert of.spreads[0][l2].freedom == 2
    assert of.spreads[0][other] == (0.02**2, 0.0, 0)
    assert [of.assumed[p] for p in (0, sft, l2, other)] == [False, False, False, True]
    widths = {p: np.subtract(*np.quantile(of.domain_score[1:, p], [0.975, 0.025])) for p in (sft, l2, other)}
    assert widths[l2] > widths[sft] > widths[other]  # the mean of three is surer than one


def test_the_error_of_few_seeds_is_student_s():
    """Of many items the run means are all that counts: a half-width of t(2) s / sqrt(3) = 4.30 s / sqrt(3)."""
    rng = np.random.default_rng(3)
    runs = [run(BASE, domain=share(0), suite=share(50))]
    runs += [run("sft", 1.0, k, domain=[v] * 100, suite=share(50)) for k, v in enumerate((0.45, 0.5, 0.55))]
    of = study(*runs, count=20000)
    spread = of.spreads[0][1]
    assert spread.variance**0.5 == pytest.approx(0.05, rel=0.01)
    noise = np.sqrt(spread.drawn(20000, "x") / 3) * rng.standard_normal(20000)
    assert np.quantile(noise, 0.975) == pytest.approx(4.303 * 0.05 / 3**0.5, rel=0.05)


def test_with_one_seed_the_assumed_spread_is_in_the_interval():
    runs = [
        run(BASE, domain=share(500, 1000), suite=share(500, 1000)),
        run("sft", 1.0, 0, domain=share(500, 1000), suite=share(500, 1000)),
    ]
    without, of = study(*runs), study(*runs, assumed_sd=0.02)
    assert without.domain_change[1:, 1].std() < 0.002
    assert of.domain_change[1:, 1].std() == pytest.approx(0.02, rel=0.1)
    assert of.code_length[1:, 1].std() < 0.0201  # of nats nothing is assumed


def test_a_replicate_without_any_weight_holds_the_estimate():
    """A metric of nats that two items alone have is drawn in no item every now and then."""
    runs = [run(BASE, domain=share(0, 40), suite=[1, 0]), run("sft", 1.0, 0, domain=share(40, 40), suite=[1, 0])]
    for rows in runs:
        texts = [row for row in rows if row["benchmark"] == BASE_TEXT]
        for row, value in zip(texts[:2], (1.0, 3.0), strict=True):
            row["values"].append(("kl_lab", value))
            row["weights"].append(("kl_lab", 1.0))
    of = study(*runs)
    lab = Metric(BASE_TEXT, "kl_lab", "none")
    assert len(of.outcomes[lab]) == 2
    assert (of.scores[lab][(item_draws(BASE_TEXT, 40, 400)[:, :2] == 0).all(axis=1)] == 2.0).all()
    assert set(np.unique(of.scores[lab][:, 1].round(9))) > {1.0, 2.0, 3.0}


def test_of_a_single_item_hardly_anything_is_known():
    of = study(run(BASE, domain=[0], suite=[1]), run("sft", 1.0, 0, domain=[1], suite=[1]))
    assert interval("x", of.domain_score[:, 1]) == {"x": 1.0, "x_low": 0.0, "x_high": 1.0}
    assert interval("x", of.domain_change[:, 1])["x_low"] <= -0.3
    assert (of.domain_change[:, 0] == 0).all()
    assert of.code_length[0].tolist() == [2.0, 1.0]
    assert np.isnan(of.code_length[1:]).all()
    assert set(recommendation(judge([of], ONE_SEED))["verdict"]) == {"cannot be shown", "not enough evidence"}


@pytest.mark.parametrize(
    "runs",
    [
        [run(BASE, domain=[0], suite=[1]), run("sft", 1.0, 0, domain=[1], suite=[1])],
        [run(BASE, domain=[0, 0], suite=[1, 1]), run("talr", 1.0, 0, domain=[0, 0], suite=[1, 1])],
        random_runs(),
        random_runs(seeds=(0,)),
        random_runs(rates=(1.0,)),
        random_runs(n=2, methods=("sft", "talr", "l2")),
    ],
)
@pytest.mark.parametrize("name", TABLES)
def test_every_table_fits_its_schema_without_a_warning(runs, name, tmp_path):
    make, schema = TABLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schemas.write(tmp_path / "table.parquet", make(study(*runs, count=50)), schema)
    table = schemas.read(tmp_path / "table.parquet")
    for low in (column for column in table if column.endswith("_low")):
        estimate = table[low.removesuffix("_low")]
        assert ((table[low] <= estimate) & (estimate <= table[f"{low[:-4]}_high"])).fillna(True).all()


@pytest.mark.parametrize("name", TABLES)
def test_a_rerun_writes_the_same_bytes_and_the_order_of_the_samples_decides_no_number(name, tmp_path):
    make, schema = TABLES[name]
    samples = frame(*random_runs(n=7, seeds=(0, 1, 2)))
    orders = [samples, samples, samples.sample(frac=1.0, random_state=3)]
    for number, order in enumerate(orders):
        (of,) = replicates(order, BENCHMARKS, SCORED, 60)
        schemas.write(tmp_path / f"{number}" / "table.parquet", make(of), schema)
    first, again, shuffled = (tmp_path / f"{n}" / "table.parquet" for n in range(3))
    assert first.read_bytes() == again.read_bytes()
    keys = [
        c
        for c in ("method", "learning_rate", "against", "benchmark", "metric", "view", "at", "bound")
        if c in schema.names
    ]
    tables = [pq.read_table(path).to_pandas() for path in (first, shuffled)]
    tables = [t.sort_values(keys or list(t)[:4], ignore_index=True) for t in tables]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_different_items_are_refused_with_the_names_of_both():
    base, sft = run(BASE, domain=[0, 1], suite=[1, 0]), run("sft", 1.0, 0, domain=[0, 1], suite=[1, 0])
    with pytest.raises(UserError, match=r"sums: models were asked different items \(sft 1, base 2\)"):
        study(base, sft[1:])
    with pytest.raises(UserError, match="sums: seeds of sft were asked different items"):
        study(base, sft, run("sft", 1.0, 1, domain=[0, 1], suite=[1, 0])[1:])
    with pytest.raises(UserError, match="models were asked different items"):
        study(base, [*sft, sft[0]])


# Comparisons


def test_ten_items_of_two_hundred_that_differ_8_to_2():
    base = [0.0] * 8 + [1.0] * 2 + share(95, 190)
    ours = [1.0] * 8 + [0.0] * 2 + share(95, 190)
    found = comparisons(
        [study(run(BASE, domain=base, suite=share(1, 2)), run("sft", 1.0, 0, domain=ours, suite=share(1, 2)))]
    )
    row = only(found, metric="accuracy")
    assert row["difference"] == pytest.approx(0.03)
    assert (row["n"], row["better"], row["worse"], row["p_value"]) == (200, 8, 2, 0.109375)
    assert row["difference_low"] <= 0 < row["difference_high"]
    assert only(found, metric="exact_match")["p_value"] == 1.0
    assert math.isnan(only(found, metric=CODE_LENGTH, benchmark=DOMAIN)["p_value"])


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        ([1, 1, 1], [0, 0, 0], 0.25),
        ([1, 0], [1, 0], 1.0),
        ([1, 0], [0, 1], 1.0),
        ([0.5, 0], [0, 1], None),
        ([1] * 6, [0] * 6, 0.03125),
    ],
)
def test_the_exact_p_of_mcnemar(ours, theirs, p):
    assert mcnemar(np.array(ours, float), np.array(theirs, float)) == p


def test_every_point_is_compared_with_the_base_and_with_sft_at_its_rate_but_not_with_itself():
    more = [run("plain", r, 0, recipe="sft", domain=[0, 1], suite=[0, 1]) for r in (1.0, 2.0)]
    found = comparisons([study(*random_runs(n=2, seeds=(0,)), *more)])
    pairs = found.groupby(["method", "learning_rate"])["against"].unique().map(sorted).to_dict()
    both = {("talr", rate): ["base", "plain", "sft"] for rate in (1.0, 2.0)}
    assert pairs == both | {(m, r): ["base", o] for m, o in (("sft", "plain"), ("plain", "sft")) for r in (1.0, 2.0)}


# Pareto and hypervolume


def test_domination_is_sure_of_what_is_far_apart_and_never_between_equals():
    of = study(
        run(BASE, domain=share(10), suite=share(50)),
        run("good", 1.0, 0, domain=share(60), suite=share(90)),
        run("same", 1.0, 0, domain=share(60), suite=share(90)),
        run("bad", 1.0, 0, domain=share(0), suite=share(0)),
    )
    found = front([of]).set_index("method")
    assert found["dominated"].to_dict() == {BASE: True, "good": False, "same": False, "bad": True}
    assert found.loc[BASE, "dominated_by"] in ("good", "same")
    assert found.loc[BASE, "dominated_by_rate"] == 1.0
    assert pd.isna(found.loc["good", ["dominated_by", "dominated_by_rate"]]).all()
    assert found["on_front"].to_dict() == {BASE: False, "good": True, "same": True, "bad": False}


def test_who_dominates_is_the_surest_of_all_pairs_judged_at_once():
    """By brute force over ordered pairs and both sides."""
    rng = np.random.default_rng(4)
    domain, general = (0.05 * rng.standard_normal((401, 5)) + [0.1, 0.2, 0.5, 0.5, 0.9] for _ in range(2))
    deviations, low = [], {}
    for over in range(5):
        for under in range(5):
            if over != under:
                for side in (domain, general):
                    drawn = side[1:, over] - side[1:, under]
                    deviations.append((drawn - drawn.mean()) / drawn.std())
    critical = np.quantile(np.max(deviations, axis=0), 0.95)
    for over in range(5):
        for under in range(5):
            spans = [side[1:, over] - side[1:, under] for side in (domain, general)]
            low[over, under] = min(s.mean() - critical * s.std() for s in spans) if over != under else 0.0
    expected = [max(range(5), key=lambda o: low[o, u]) for u in range(5)]
    assert dominators(domain, general) == [o if low[o, u] > 0 else None for u, o in enumerate(expected)]
    assert dominators(domain, general)[0] == 4
    assert dominators(domain, general)[4] is None


def test_a_point_off_the_front_by_chance_is_not_called_dominated():
    of = study(
        run(BASE, domain=share(0, 10), suite=share(0, 10)),
        run("a", 1.0, 0, domain=share(6, 10), suite=share(5, 10)),
        run("b", 1.0, 0, domain=share(5, 10)[::-1], suite=share(5, 10)),
    )
    row = only(front([of]), method="b")
    assert not row["on_front"]
    assert not row["dominated"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_what_is_not_dominated_is_never_beaten_and_something_always_is_left(points):
    found = dominated(*(np.array([side], float) for side in zip(*points, strict=True)))[0]
    assert found.tolist() == [any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points) for p in points]
    assert not found.all()


def test_the_hypervolume_of_known_rectangles():
    """Above a base of 0.1: 0.5 x 0.8 and 0.2 more x 0.4; what gains nothing counts nothing."""
    of = study(
        run(BASE, domain=share(10), suite=share(90)),
        run("two", 1.0, 0, domain=share(60), suite=share(80)),
        run("two", 2.0, 0, domain=share(80), suite=share(40)),
        run("none", 1.0, 0, domain=share(10), suite=share(100)),
        run("none", 2.0, 0, domain=share(0), suite=share(100)),
    )
    found = hypervolume([of]).set_index("method")
    assert found["hypervolume"].to_dict() == pytest.approx({"two": 0.5 * 0.8 + 0.2 * 0.4, "none": 0.0})
    assert found["p_best"].to_dict() == {"two": 1.0, "none": 0.0}
    assert found["rates"].to_dict() == {"two": 2, "none": 2}
    assert found.loc["two", ["reference_domain", "reference_general"]].tolist() == [0.1, 0.0]
    assert found.loc["two", "hypervolume_low"] < 0.48 < found.loc["two", "hypervolume_high"]


# Views


def test_a_crossing_is_the_first_and_a_line_that_stays_below_is_read_at_its_farthest():
    x = np.array([[0, 1, 3, 2], [0, 0.5, 1, 0.2], [0, -1, -2, -3], [0, 2, 2, 2], [0, 3, 1, 3]], float)
    y = np.array([[0, 1, 5, 9], [0, 1, 2, 9], [0, 7, 8, 9], [0, 4, 8, 9], [0, 3, 1, 9]], float)
    there, read = crossing(x, y, 2.0)
    assert there.tolist() == [2.0, 1.0, 0.0, 2.0, 2.0]
    assert read.tolist() == [3.0, 2.0, 0.0, 4.0, 2.0]


@pytest.fixture
def ladder():
    """sft gains 20 and 40 points and loses 10 and 40; talr 10 and 60, and loses none and 30."""
    return study(
        run(BASE, domain=share(10), suite=share(80), kl=[0.0] * 4),
        run("sft", 1.0, 0, domain=share(30), suite=share(70), kl=[1.0] * 4),
        run("sft", 2.0, 0, domain=share(50), suite=share(40), kl=[2.0] * 4),
        run("talr", 1.0, 0, domain=share(20), suite=share(80), kl=[0.5] * 4),
        run("talr", 2.0, 0, domain=share(70), suite=share(50), kl=[4.0] * 4),
        run("l2", 1.0, 0, domain=share(5), suite=share(80), kl=[0.1] * 4),
    )


def test_within_a_bound_each_method_has_its_best_rate_or_no_row(ladder):
    found = views([ladder], updates(ladder))
    bounded = found[found["view"] == "bounded_loss"]
    assert list(zip(bounded["at"], bounded["method"], bounded["learning_rate"], strict=True)) == [
        (at, *row) for at in (0.0, 0.01, 0.02, 0.05) for row in (("talr", 1.0), ("l2", 1.0))
    ]
    row = only(bounded, at=0.05, method="talr")
    assert (row["domain_change"], row["general_change"]) == pytest.approx((0.1, 0.0))


def test_at_one_gain_methods_are_read_between_their_rates(ladder):
    found = views([ladder], updates(ladder))
    gains = found[found["view"] == "matched_gain"]
    assert sorted(set(gains["at"].round(9))) == [0.1, 0.2, 0.3]  # of 40 points, which two methods reach
    assert set(gains["method"]) == {"sft", "talr"}
    at = {(row.method, round(row.at, 9)): row for row in gains.itertuples()}
    assert at["sft", 0.1].general_change == pytest.approx(-0.05)  # half way to the first rate
    assert at["sft", 0.3].general_change == pytest.approx(-0.25)  # half way from the first to the second
    assert at["talr", 0.3].general_change == pytest.approx(-0.3 * 2 / 5)
    assert at["talr", 0.1].learning_rate == at["sft", 0.2].learning_rate == 1.0
    assert np.isnan(at["sft", 0.3].learning_rate)
    assert gains["domain_change"].tolist() == pytest.approx(gains["at"].tolist())


def test_at_one_norm_and_at_one_divergence(ladder):
    norms = {"sft_1": 1.0, "sft_2": 4.0, "talr_1": 1.0, "talr_2": 4.0, "l2_1": 0.5}
    found = views([ladder], updates(ladder, **norms))
    matched = found[(found["view"] == "matched_norm") & (found["method"] == "sft")]
    assert matched["at"].tolist() == pytest.approx([2**0.5, 2.0, 2**1.5])
    assert matched["general_change"].tolist()[1] == pytest.approx(-0.1 - 0.3 / 3)
    assert not (found[found["view"] == "matched_norm"]["method"] == "l2").any()
    divergence = found[(found["view"] == "matched_kl") & (found["method"] == "talr")]
    assert divergence["at"].tolist() == pytest.approx([0.5, 1.0, 1.5])  # two methods come to 2
    assert divergence["domain_change"].tolist() == pytest.approx([0.1, 0.1 + 0.5 / 7, 0.1 + 1 / 7])


# Recommendation


def test_what_is_far_ahead_is_the_best():
    of = study(
        run(BASE, domain=share(10), suite=share(80)),
        run("talr", 1.0, 0, domain=share(80), suite=share(80)),
        run("talr", 2.0, 0, domain=share(90), suite=share(10)),
        run("sft", 1.0, 0, domain=share(30), suite=share(80)),
    )
    row = only(recommendation(judge([of], ONE_SEED)), bound=0.05)
    assert (row["verdict"], row["method"], row["learning_rate"]) == ("best", "talr", 1.0)
    assert (row["rival"], row["rival_rate"], row["regret"]) == ("sft", 1.0, 0.0)
    assert (row["domain_change"], row["lead"]) == pytest.approx((0.7, 0.5))
    assert pd.isna(row["equivalent"])
    assert row["reason"].startswith("Within 5 points of general loss take talr at 1e+00: +70.0 on sums (95 %")
    assert row["reason"].endswith("; every other run within the bound gains less.")
    assert row["caveat"] == (
        "No method has a second seed at 1e+00, 2e+00: a standard deviation of 0 between trainings is assumed there, "
        "not measured."
    )


def test_one_seed_recommends_nothing_unless_the_study_says_so():
    runs = [run(BASE, domain=share(10), suite=share(80)), run("sft", 1.0, 0, domain=share(80), suite=share(80))]
    row = only(recommendation(judge([study(*runs, assumed_sd=0.005)])), bound=0.05)
    assert (row["verdict"], row["method"], row["assumed_sd"]) == ("not enough evidence", "sft", 0.005)
    assert "one would take sft at 1e+00" in row["reason"]
    assert "assumes a standard deviation of 0.005 between trainings" in row["reason"]
    more = run("sft", 1.0, 1, domain=share(80), suite=share(80))
    row = only(recommendation(judge([study(*runs, more)])), bound=0.05)
    assert (row["verdict"], row["method"]) == ("best", "sft")
    assert pd.isna(row["assumed_sd"])


def test_a_tie_is_answered_within_the_tolerance_and_the_cheapest_is_offered_first():
    n = 2000
    of = study(
        run(BASE, domain=share(200, n), suite=share(1600, n)),
        *(run("talr", 1.0, s, domain=share(1010, n), suite=share(1600, n)) for s in (0, 1, 2)),
        *(run("sft", 1.0, s, domain=[0.0] * 100 + share(1000, n - 100), suite=share(1600, n)) for s in (0, 1, 2)),
        *(run("l2", 1.0, s, domain=share(400, n), suite=share(1600, n)) for s in (0, 1, 2)),
    )
    flops = {"talr": 3.0, "sft": 2.0, "l2": 1.0}
    cards = {i: {"flops": flops[p.method]} for p, ids in zip(of.points[1:], of.runs[1:], strict=True) for i in ids}
    row = only(recommendation(judge([of], Rules(), cards)), bound=0.05)
    assert (row["verdict"], row["method"], row["equivalent"]) == ("recommended", "sft", "talr at 1e+00")
    assert 0.005 < row["regret"] < 0.05
    assert "talr at 1e+00 is equivalent" in row["reason"]
    row = only(recommendation(judge([of], Rules(tolerance=0.001), cards)), bound=0.05)
    assert (row["verdict"], row["method"]) == ("a safe choice", "talr")
    assert "(it may be sft at 1e+00), which is beyond the tolerance of 0.1 points" in row["reason"]


def test_every_point_stands_somewhere_at_every_bound():
    n = 2000
    ends = {"sft": (1000, 1600), "talr": (1010, 1600), "l2": (400, 1600), "lora": (1000, 800), "flow": (1000, 1510)}
    of = study(
        run(BASE, domain=share(200, n), suite=share(1600, n)),
        *(run(m, 1.0, s, domain=share(d, n), suite=share(g, n)) for m, (d, g) in ends.items() for s in (0, 1, 2)),
    )
    flops = {p.method: float(i) for i, p in enumerate(of.points)}
    cards = {i: {"flops": flops[p.method]} for p, ids in zip(of.points[1:], of.runs[1:], strict=True) for i in ids}
    found = standing(judge([of], Rules(), cards))
    at = {bound: rows.set_index("method")["standing"].to_dict() for bound, rows in found.groupby("bound")}
    assert list(at) == [0.01, 0.02, 0.05]
    words = {"sft": "offered", "talr": "equivalent", "l2": "safe", "lora": "loses more"}
    assert at[0.02] == words | {"flow": "loses more"}
    assert at[0.05] == words | {"flow": "open"}  # it loses 4.5 points
    assert found["gain_at_least"].isna().tolist() == (found["standing"] == "loses more").tolist()
    lone = study(run(BASE, domain=share(10), suite=share(80)), run("sft", 1.0, 0, domain=share(80), suite=share(80)))
    assert set(standing(judge([lone]))["standing"]) == {"best estimate"}
    assert set(standing(judge([lone], ONE_SEED))["standing"]) == {"best estimate", "offered"}


def test_a_third_method_as_good_is_a_rival():
    """0.500, 0.475 and 0.4725 of 400 items: none is the best, and what is said of the first holds for all three."""
    rng = np.random.default_rng(0)
    runs = [run(BASE, domain=share(40, 400), suite=share(320, 400))]
    for name, right in (("sft", 200), ("flow", 190), ("talr", 189)):
        items = rng.permutation(share(right, 400)).tolist()
        runs.append(run(name, 1.0, 0, domain=items, suite=share(320, 400)))
    row = only(recommendation(judge([study(*runs)], ONE_SEED)), bound=0.05)
    assert row["verdict"] == "recommended"
    assert 0.02 < row["regret"] < 0.05
    row = only(recommendation(judge([study(*runs)], Rules(0.02, one_seed=True))), bound=0.05)
    assert (row["verdict"], row["method"]) == ("a safe choice", "sft")


def test_a_loss_that_may_exceed_the_bound_is_not_enough():
    of = study(
        run(BASE, domain=share(0), suite=share(50)),
        run("sft", 1.0, 0, domain=share(80), suite=share(49)),
    )
    found = recommendation(judge([of], ONE_SEED)).set_index("bound")
    assert found.loc[0.01, "verdict"] == found.loc[0.02, "verdict"] == "not enough evidence"
    assert "its loss may be as much as" in found.loc[0.01, "reason"]
    assert found.loc[0.01, "general_at_least"] < -0.02
    assert found.loc[0.05, "verdict"] == "best"
    assert found.loc[0.05, "general_at_least"] >= -0.05
    assert pd.isna(found.loc[0.05, "rival"])
    assert "no other run may be within the bound" in found.loc[0.05, "reason"]


def test_a_bound_of_0_is_no_verdict():
    of = study(run(BASE, domain=share(0), suite=share(50)), run("sft", 1.0, 0, domain=share(80), suite=share(90)))
    row = only(recommendation(judge([of], ONE_SEED)), bound=0.0)
    assert row["verdict"] == "cannot be shown"
    assert pd.isna(row["method"])
    assert row["reason"].startswith("No data can show that nothing at all is lost")


def test_little_is_concluded_from_a_few_items():
    """All of 9 items gained and none lost: a gain is shown, and a loss of 5 points not excluded."""
    of = study(
        run(BASE, domain=share(0, 9), suite=share(9, 9)), run("sft", 1.0, 0, domain=share(9, 9), suite=share(9, 9))
    )
    row = only(recommendation(judge([of], ONE_SEED)), bound=0.05)
    assert row["verdict"] == "not enough evidence"
    assert row["gain_at_least"] > 0 > -0.05 > row["general_at_least"]


def test_where_nothing_qualifies_the_reason_says_why():
    lossy = study(run(BASE, domain=share(0), suite=share(50)), run("sft", 1.0, 0, domain=share(80), suite=share(10)))
    row = only(recommendation(judge([lossy], ONE_SEED)), bound=0.05)
    assert row["verdict"] == "nothing qualifies"
    assert pd.isna(row[["method", "learning_rate", "domain_change", "lead_low", "regret"]]).all()
    assert row["reason"].startswith("Every run loses more; the least is sft at 1e+00 with -0.400")
    n = 400
    outcomes = {"domain": share(20, n), "suite": share(200, n)}
    inert = study(run(BASE, **outcomes), run("sft", 1.0, 0, **outcomes))
    row = only(recommendation(judge([inert], ONE_SEED)), bound=0.05)
    assert row["verdict"] == "nothing qualifies"
    assert row["reason"].startswith("No run within 5 points of general loss gains more than the tolerance of 5 points")


def test_the_interval_of_the_chosen_point_holds_for_all_points_at_once():
    rng = np.random.default_rng(1)
    runs = [run(BASE, domain=share(0), suite=by_seed(rng, 0.0, 100))]
    of = study(*runs, *(run(m, 1.0, s, domain=share(90), suite=by_seed(rng, 0.4, 100)) for m in "abcd" for s in (0, 1)))
    (row,) = recommendation(judge([of], Rules(tolerance=1.0))).query("bound == 0.05").to_dict("records")
    p = next(
        p
        for p, point in enumerate(of.points)
        if (point.method, point.learning_rate) == (row["method"], row["learning_rate"])
    )
    drawn = of.general_change[1:, 1:]
    centre, error = drawn.mean(axis=0), drawn.std(axis=0)
    critical = np.quantile(np.abs((drawn - centre) / error).max(axis=1), 0.95)
    assert critical > 2.1  # of one point 1.96
    assert row["general_change_low"] == pytest.approx(
        min(centre[p - 1] - critical * error[p - 1], of.general_change[0, p])
    )
    assert row["general_change_high"] == pytest.approx(
        max(centre[p - 1] + critical * error[p - 1], of.general_change[0, p])
    )


def test_the_terminal_s_table_begins_and_ends_with_the_recommendation_in_words():
    runs = [run(BASE, domain=share(10), suite=share(80))]
    runs += [run("sft", 1.0, s, domain=share(80), suite=share(80)) for s in (0, 1)]
    of = replicates(frame(*runs), BENCHMARKS, SCORED, 50)
    cut = {name: [0] for name in ("n_truncated", "n_unfinished", "n_too_long")}
    asked = {"model": ["m"], "system_turn": [BY_TEMPLATE], "max_new_tokens": [8]}
    counts = pd.DataFrame({"benchmark": [SUITE], "n": [4], **cut, **asked})
    text = summary(tradeoff(of, updates(of[0])), counts, recommendation(judge(of)), BENCHMARKS)
    assert text.startswith("\nWithin 5 points of general loss take sft at 1e+00: +70.0 on sums (95 %: +")
    table, words = text.split("Recommendation for tiny on sums")
    assert "sft     1e+00   0.800  +0.700  +0." in table
    assert [line[2:6] for line in words.splitlines() if ": " in line and line[2:3] == "0"] == [
        "0.00",
        "0.01",
        "0.02",
        "0.05",
    ]
    assert "0.00  cannot be shown: " in words
    assert max(map(len, text.splitlines())) <= 120


# Hypotheses


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [
        ((85, 80), (90, 20), "supported"),
        ((20, 80), (90, 20), "contradicted"),  # keeps little of the gain
        ((90, 20), (90, 80), "contradicted"),  # loses more
        ((85, 80), (90, 80), "open"),
    ],
)
def test_small_rate_first(small, large, verdict):
    points = [(1.0, small), (2.0, large)]
    of = study(
        run(BASE, domain=share(0), suite=share(80)),
        *(run("plain", r, 0, recipe="sft", domain=share(d), suite=share(g)) for r, (d, g) in points),
    )
    row = only(hypotheses([of]), hypothesis="small rate first")
    assert row["verdict"] == verdict
    assert row["estimate"] == pytest.approx((small[1] - large[1]) / 100)


@pytest.mark.parametrize(("talr", "verdict"), [((80, 80), "supported"), ((80, 20), "open"), ((10, 5), "contradicted")])
def test_talr_for_a_stronger_balance(talr, verdict):
    of = study(
        run(BASE, domain=share(0), suite=share(80)),
        run("sft", 1.0, 0, domain=share(80), suite=share(20)),
        run("talr", 1.0, 0, domain=share(talr[0]), suite=share(talr[1])),
    )
    row = only(hypotheses([of]), hypothesis="TALR for a stronger balance")
    assert row["verdict"] == verdict
    assert row["estimate"] == pytest.approx((talr[1] - 20) / 100)


def test_every_entry_of_a_recipe_is_tested_under_its_name():
    """An ablation has several: none stands for the others."""
    of = study(
        run(BASE, domain=share(0), suite=share(80)),
        run("sft", 1.0, 0, domain=share(80), suite=share(20)),
        run("floor_0", 1.0, 0, recipe="talr", domain=share(10), suite=share(5)),
        run("floor_1", 1.0, 0, recipe="talr", domain=share(80), suite=share(80)),
    )
    found = hypotheses([of]).query("hypothesis == 'TALR for a stronger balance'")
    assert found[["method", "against", "verdict"]].to_numpy().tolist() == [
        ["floor_0", "sft", "contradicted"],
        ["floor_1", "sft", "supported"],
    ]
    assert found["statement"].str.startswith("At the largest rate floor_").all()


def test_what_a_study_lacks_leaves_a_hypothesis_open():
    of = study(run(BASE, domain=[0, 1], suite=[0, 1]), run("sft", 1.0, 0, domain=[0, 1], suite=[0, 1]))
    found = hypotheses([of])
    assert set(found["verdict"]) == {"open"}
    assert found["estimate"].isna().all()
    assert found["evidence"].tolist() == ["the study has one learning rate", "the study has no talr"]


# Against the paper


def test_scores_stand_beside_the_paper_s_where_both_measure_the_same():
    recipes = {"sft": "sft", "lora": "lora", "wide": "lora", "average": "average", "half_of_talr": "average"}
    recipes |= {"no_floor": "talr"}
    runs = [run(name, 1e-6, 0, recipe=recipe, domain=share(50), suite=share(60)) for name, recipe in recipes.items()]
    of = study(run(BASE, domain=share(0), suite=share(70)), *runs, run("sft", 5e-6, 0, domain=share(1), suite=share(1)))
    methods = {
        "sft": {"recipe": "sft"},
        "talr": {"recipe": "talr"},
        "no_floor": {"recipe": "talr", "floor": 0},
        "lora": {"recipe": "lora", "lr_multiplier": 1.0},
        "wide": {"recipe": "lora", "lr_multiplier": 10.0},
        "average": {"recipe": "average", "of": "sft", "alpha": 0.5},
        "half_of_talr": {"recipe": "average", "of": "talr", "alpha": 0.5},
    }
    source = "hub:Qwen/Qwen2.5-3B-Instruct"
    found = against_paper([of], {"tiny": source}, {DOMAIN: "medcalc"}, methods)
    assert found["side"].tolist() == ["domain"] * 3  # the general score is of other benchmarks
    assert found.set_index("method")["published"].to_dict() == {"sft": 0.495, "lora": 0.126, "average": 0.195}
    assert only(found, method="sft")["difference"] == pytest.approx(0.005)
    for sources, kinds in (({"tiny": "folder:x"}, {DOMAIN: "medcalc"}), ({"tiny": source}, {DOMAIN: "esci"})):
        empty = against_paper([of], sources, kinds, methods)
        assert list(empty) == schemas.AGAINST_PAPER.names
        assert empty.empty


# Trajectory


def test_a_trajectory_leads_from_the_base_over_snapshots_to_the_run(tmp_path):
    base = run(BASE, domain=share(0, 10), suite=share(10, 10))
    runs = [run("sft", 1.0, s, domain=share(8, 10), suite=share(6, 10)) for s in (0, 1)]
    way = [
        run("sft", 1.0, s, domain=share(d, 10), suite=share(8, 10), fraction=at, step=step)
        for s in (0, 1)
        for at, step, d in ((0.5, 4, 5), (0.25, 2, 3))
    ]
    other = run("talr", 1.0, 0, domain=share(1, 10), suite=share(1, 10))
    samples = frame(base, *runs, other)
    cards = {row: COST | {"delta_norm": 2.0} for row in samples["run_id"]}
    norms = {("sft-1.0-0", 0.5): 1.0, ("sft-1.0-1", 0.5): 2.0}
    found = trajectory(frame(*way), samples, cards, BENCHMARKS, SCORED, norms, 50)
    schemas.write(tmp_path / "trajectory.parquet", found, schemas.TRAJECTORY)
    found = schemas.read(tmp_path / "trajectory.parquet")
    assert found["method"].tolist() == ["sft"] * 4
    assert found["fraction"].tolist() == [0.0, 0.25, 0.5, 1.0]
    assert found["step"].tolist() == [0, 2, 4, 8]
    assert found["domain_change"].tolist() == pytest.approx([0.0, 0.3, 0.5, 0.8])
    assert found["general_change"].tolist() == pytest.approx([0.0, -0.2, -0.2, -0.4])
    assert found["delta_norm"].fillna(-1.0).tolist() == [0.0, -1.0, 1.5, 2.0]
    empty = trajectory(frame(*way).iloc[:0], samples, cards, BENCHMARKS, SCORED)
    schemas.write(tmp_path / "trajectory.parquet", empty, schemas.TRAJECTORY)
    assert pq.read_table(tmp_path / "trajectory.parquet").num_rows == 0
