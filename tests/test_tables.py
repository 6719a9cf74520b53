"""Tables: one schema whatever the method, no number made up, and statistics with known answers."""

import itertools
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tradeoff import evaluation
from tradeoff.domains import kind
from tradeoff.errors import UserError
from tradeoff.evaluation import IN_USER_TURN, NO_TEMPLATE
from tradeoff.evaluation.samples import Prompting, Sample, table
from tradeoff.provenance import CARD, base_run_id, write_json
from tradeoff.study import BASE
from tradeoff.tables import schemas
from tradeoff.tables.collect import Entry, collect
from tradeoff.tables.pareto import pareto
from tradeoff.tables.replicates import replicates
from tradeoff.tables.scores import scores, weighted_mean
from tradeoff.tables.tradeoff import tradeoff

DOMAIN, GENERAL = "medcalc_mini", ["arithmetic_mini", "base_text"]
KNOWN = {name: evaluation.of_domain(name, kind(name)()) for name in (DOMAIN, "shop_mini")}
KNOWN |= {name: evaluation.general(name) for name in (*GENERAL, "ifeval_mini")}
BENCHMARKS = {name: KNOWN[name] for name in (DOMAIN, *GENERAL)}
SCORED = {DOMAIN: ["arithmetic_mini"]}
PROMPTING = Prompting("none", NO_TEMPLATE, None, 0, 48, "transformers", "float32", 8, "torch 2", "cpu")
COST = {"tokens": 101, "seconds": 2.5, "flops": 5e9, "peak_memory_bytes": 16}
UPDATE = {"delta_norm": 1.5, "share_moved": 0.75, "share_kept_bfloat16": 0.125}
# Outcomes of four items of each benchmark; base_text counts nats.
OUTCOMES = {DOMAIN: [0.0, 1.0, 0.0, 1.0], "arithmetic_mini": [1.0, 1.0, 1.0, 0.0], "base_text": [0.5, 1.5, 1.0, 1.0]}
BETTER = OUTCOMES | {DOMAIN: [1.0, 1.0, 0.0, 1.0], "arithmetic_mini": [1.0, 0.0, 1.0, 0.0]}


def items(outcomes, drop=None, **changed):
    """The samples of one model: each outcome under every metric of its benchmark."""
    return [
        Sample(
            **{
                "benchmark": name,
                "task_version": KNOWN[name].version,
                "item": f"{name}-{number}",
                "prompt": "p",
                "target": "t",
                "response": "r",
                "truncated": number == 3,
                "reasoning": "so" if number else None,
                "reasoning_tokens": 40 if number == 1 else 0,
                "answer_tokens": 3,
                "unfinished": number == 1,
                "too_long": number == 2,
                "invalid": number > 1,
                "values": {m: value for m in KNOWN[name].metrics if (name, m) != drop},
                "weights": {m: 1.0 for m in KNOWN[name].metrics if (name, m) != drop},
            }
            | changed
        )
        for name, values in outcomes.items()
        for number, value in enumerate(values)
    ]


def entry(root, method=BASE, rate=None, seed=None, outcomes=OUTCOMES, drop=None):
    """Writes a model's folder and returns its entry."""
    folder = root / f"{method}-{rate}-{seed}"
    run = None if method == BASE else {"method": {"recipe": method}, "learning_rate": rate, "seed": seed}
    write_json(root / CARD, {"sha256": "b" * 64, "revision": None})
    write_json(folder / CARD, {"run_id": folder.name, "spec": run})
    pq.write_table(table(items(outcomes, drop), PROMPTING), folder / "samples.parquet")
    names = (DOMAIN, *GENERAL)
    return Entry(folder, "tiny", None if run is None else DOMAIN, method, rate, seed, run, names, root)


@pytest.fixture
def entries(tmp_path):
    return [
        entry(tmp_path),
        entry(tmp_path, "sft", "1e-06", 0, BETTER),
        entry(tmp_path, "sft", "1e-06", 1),
        entry(tmp_path, "lora", "5e-06", 0),
    ]


@pytest.fixture
def samples(entries):
    return collect(entries, BENCHMARKS)


@pytest.fixture
def updates(entries):
    return {e.folder.name: COST | UPDATE for e in entries[1:]}


# Schemas


def score_row(**values):
    return {
        "run_id": "r",
        "model": "tiny",
        "revision": None,
        "domain": None,
        "method": "base",
        "recipe": "base",
        "learning_rate": None,
        "seed": None,
        "benchmark": DOMAIN,
        "task_version": "1.0",
        **asdict(PROMPTING),
        "metric": "accuracy",
        "filter": "none",
        "value": 0.5,
        "stderr": 0.25,
        "n": 4,
        "n_truncated": 0,
        "n_invalid": 0,
        "n_unfinished": 0,
        "n_too_long": 0,
        "reasoning_tokens": 0,
        "answer_tokens": 12,
    } | values


ROWS = {
    "base": score_row(),
    "sft": score_row(domain=DOMAIN, learning_rate=1e-6, seed=0, value=1),
    "lora": score_row(domain=DOMAIN, learning_rate=1, seed=16, revision="abc"),
}


def test_a_file_has_the_declared_schema_whatever_is_null_in_it(tmp_path):
    for name, row in ROWS.items():
        schemas.write(tmp_path / f"{name}.parquet", pd.DataFrame([row]), schemas.SCORES)
        assert pq.read_schema(tmp_path / f"{name}.parquet").equals(schemas.SCORES)
    lora, base = (schemas.read(tmp_path / f"{name}.parquet").iloc[0] for name in ("lora", "base"))
    assert str(lora["seed"]) == "16"
    assert lora["learning_rate"] == 1.0
    assert base["seed"] is pd.NA
    assert base["learning_rate"] is pd.NA


def test_files_read_in_any_order_are_the_same_table(tmp_path):
    for name, row in ROWS.items():
        schemas.write(tmp_path / f"{name}.parquet", pd.DataFrame([row]), schemas.SCORES)
    paths = [str(tmp_path / f"{name}.parquet") for name in ROWS]
    found = [ds.dataset(list(order)).to_table().sort_by("seed") for order in itertools.permutations(paths)]
    assert all(other.equals(found[0]) for other in found)
    assert found[0].schema.equals(schemas.SCORES)
    assert found[0]["seed"].to_pylist() == [0, 16, None]


@pytest.mark.parametrize("row", [r for name, r in ROWS.items() if name != "base"])
def test_null_and_not_null_in_one_frame_keep_their_types(row, tmp_path):
    schemas.write(tmp_path / "scores.parquet", pd.DataFrame([ROWS["base"], row]), schemas.SCORES)
    assert pq.read_table(tmp_path / "scores.parquet")["seed"].to_pylist() == [None, row["seed"]]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"value": None}, "value"),
        ({"value": math.nan}, "value"),
        ({"value": math.inf}, "value"),
        ({"learning_rate": -math.inf}, "learning_rate"),
        ({"run_id": None}, "run_id"),
        ({"n": 4.5}, "n with type|integer|truncat"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_the_schema_does_not_allow_is_not_written(changed, told, tmp_path):
    path = tmp_path / "scores.parquet"
    with pytest.raises(ValueError, match=told):
        schemas.write(path, pd.DataFrame([score_row(**changed)]), schemas.SCORES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("column", ["value", "seed"])
def test_a_missing_column_is_not_filled(column, tmp_path):
    with pytest.raises(ValueError, match=column):
        schemas.write(tmp_path / "scores.parquet", pd.DataFrame([score_row()]).drop(columns=column), schemas.SCORES)


def test_a_file_tells_its_schema_s_version(tmp_path):
    schemas.write(tmp_path / "scores.parquet", pd.DataFrame([score_row()]), schemas.SCORES)
    metadata = pq.read_schema(tmp_path / "scores.parquet").metadata
    assert metadata == {b"tradeoff_table": b"scores", b"tradeoff_schema_version": schemas.VERSION.encode()}


# Collecting


def test_collected_runs_are_the_same_in_any_order_and_fit_the_schema(entries, tmp_path):
    keys = ["run_id", "benchmark", "item"]
    expected = collect(entries, BENCHMARKS).sort_values(keys, ignore_index=True)
    assert len(expected) == 4 * 12
    for order in (entries[::-1], entries[1:] + entries[:1]):
        found = collect(order, BENCHMARKS)
        pd.testing.assert_frame_equal(found.sort_values(keys, ignore_index=True), expected)
        schemas.write(tmp_path / "samples.parquet", found[schemas.SAMPLES.names], schemas.SAMPLES)
        assert pq.read_schema(tmp_path / "samples.parquet").equals(schemas.SAMPLES)
    base = expected[expected["method"] == BASE]
    assert base[["domain", "learning_rate", "seed", "revision"]].isna().all(axis=None)
    assert set(base["run_id"]) == {base_run_id("tiny", "b" * 64)}


@pytest.mark.parametrize(
    ("outcomes", "drop", "told"),
    [
        ({k: v for k, v in OUTCOMES.items() if k != DOMAIN}, None, f"no accuracy of {DOMAIN}"),
        (OUTCOMES, (DOMAIN, "accuracy"), f"no accuracy of {DOMAIN}"),
        (OUTCOMES, ("base_text", "code_length"), "no code_length of base_text"),
    ],
)
def test_a_missing_benchmark_or_metric_stops_in_one_line(outcomes, drop, told, entries, tmp_path):
    lacking = entry(tmp_path, "talr", "1e-06", 0, outcomes, drop)
    with pytest.raises(UserError, match=rf"talr-1e-06-0/samples.parquet: {told}") as error:
        collect([*entries, lacking], BENCHMARKS)
    assert "\n" not in str(error.value)


def test_a_folder_of_another_spec_stops(entries, tmp_path):
    write_json(entries[1].folder / CARD, {"run_id": "r", "spec": {"learning_rate": "5e-06"}})
    with pytest.raises(UserError, match="another spec"):
        collect(entries, BENCHMARKS)


def test_a_benchmark_that_the_study_does_not_ask_for_is_left_out(tmp_path):
    asked = entry(tmp_path, outcomes=OUTCOMES | {"shop_mini": [1.0]})
    assert set(collect([asked], BENCHMARKS)["benchmark"]) == {DOMAIN, *GENERAL}


# Scores


@pytest.mark.parametrize(
    ("values", "weights", "mean", "stderr"),
    [
        ([1, 0, 1, 1], [1, 1, 1, 1], 0.75, 0.25),
        ([1, 0, 1, 1], [7, 7, 7, 7], 0.75, 0.25),
        ([1, 0], [3, 1], 0.75, 0.375),
        ([2, 2, 2], [1, 2, 3], 2.0, 0.0),
    ],
)
def test_a_weighted_mean_and_its_standard_error(values, weights, mean, stderr):
    weights = np.array(weights, float)[:, None]
    assert weighted_mean(np.array(values, float), weights) == pytest.approx((mean, stderr))


def test_a_single_item_tells_nothing_of_its_spread():
    mean, stderr = weighted_mean(np.array([0.5]), np.array([[1.0]]))
    assert mean == 0.5
    assert math.isnan(stderr)


def test_scores_are_one_row_a_metric_with_counts(samples, tmp_path):
    found = scores(samples)
    schemas.write(tmp_path / "scores.parquet", found, schemas.SCORES)
    assert len(found) == 4 * 5  # runs, and metrics of three benchmarks
    row = found[(found["run_id"] == "sft-1e-06-0") & (found["benchmark"] == DOMAIN)].iloc[0]
    assert (row["value"], row["stderr"]) == pytest.approx((0.75, 0.25))
    assert (row["n"], row["n_truncated"], row["n_invalid"]) == (4, 1, 2)
    assert (row["n_unfinished"], row["n_too_long"], row["reasoning_tokens"], row["answer_tokens"]) == (1, 1, 40, 12)
    base = found[(found["method"] == BASE) & (found["benchmark"] == "base_text")].iloc[0]
    assert base["value"] == 1.0


def test_scores_weigh_items_by_the_metric_s_weights(tmp_path):
    asked = entry(tmp_path)
    rows = items({DOMAIN: [1.0, 0.0]})
    for row, weight in zip(rows, (3.0, 1.0), strict=True):
        row.weights["accuracy"] = weight
    pq.write_table(table([*rows, *items(OUTCOMES)[4:]], PROMPTING), asked.folder / "samples.parquet")
    found = scores(collect([asked], BENCHMARKS)).set_index(["benchmark", "metric"]).loc[(DOMAIN, "accuracy")]
    assert (found["value"], found["stderr"]) == pytest.approx((0.75, 0.375))


# The trade-off


def test_the_trade_off_holds_paired_changes_over_items_and_means_over_seeds(samples, updates, tmp_path):
    found = tradeoff(replicates(samples, BENCHMARKS, SCORED), updates)
    schemas.write(tmp_path / "tradeoff.parquet", found, schemas.tradeoff(GENERAL))
    found = schemas.read(tmp_path / "tradeoff.parquet").set_index("method")
    assert list(found.index) == [BASE, "sft", "lora"]
    base, sft = found.loc[BASE], found.loc["sft"]

    # sft: two seeds, of which one differs from the base in the domain's first item and arithmetic's second.
    assert (sft["seeds"], sft["learning_rate"]) == (2, 1e-6)
    assert sft["domain_score"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert sft["domain_change"] == pytest.approx(0.125)
    # Of 4 items little is known: the pseudo-items are a third of those that are drawn.
    assert sft["domain_change_low"] < -0.3
    assert sft["domain_change_high"] > 0.3
    # base_text is no score and stays out of the general one.
    assert sft["general_score"] == sft["arithmetic_mini"] == pytest.approx(0.625)
    assert sft["general_change"] == pytest.approx(-0.125)
    assert sft["base_text"] == 1.0

    assert base["domain_score"] == 0.5
    assert base[[c for c in found if "change" in c]].eq(0).all()
    assert base[["learning_rate", *COST, *UPDATE]].isna().all()
    assert sft[[*COST, *UPDATE]].to_dict() == COST | UPDATE
    assert found["energy_joules"].isna().all()
    assert found["tokens"].dtype == "Int64"


def test_the_general_score_is_the_plain_mean_of_bounded_benchmarks(tmp_path):
    outcomes = OUTCOMES | {"ifeval_mini": [1.0, 0.0]}
    names = (*GENERAL, "ifeval_mini")
    asked = [entry(tmp_path, outcomes=outcomes), entry(tmp_path, "sft", "1e-06", 0, outcomes)]
    asked = [Entry(**vars(e) | {"benchmarks": (DOMAIN, *names)}) for e in asked]
    updates, scored = {"sft-1e-06-0": COST | UPDATE}, {DOMAIN: ["arithmetic_mini", "ifeval_mini"]}
    known = {name: KNOWN[name] for name in (DOMAIN, *names)}
    found = tradeoff(replicates(collect(asked, known), known, scored), updates).iloc[0]
    assert found["general_score"] == pytest.approx((0.75 + 0.5) / 2)
    assert found["general_plain"] == found["general_score"]
    assert found["general_plain_low"] == found["general_score_low"]


@pytest.mark.parametrize("weights", [{"arithmetic_mini": 3.0, "ifeval_mini": 1.0}, {"ifeval_mini": 2.0}])
def test_a_study_weighs_its_general_benchmarks_and_the_plain_mean_stays_beside(tmp_path, weights):
    outcomes = OUTCOMES | {"ifeval_mini": [1.0, 0.0]}
    moved = outcomes | {"arithmetic_mini": [0.0, 0.0, 1.0, 0.0]}
    names = (*GENERAL, "ifeval_mini")
    asked = [entry(tmp_path, outcomes=outcomes), entry(tmp_path, "sft", "1e-06", 0, moved)]
    asked = [Entry(**vars(e) | {"benchmarks": (DOMAIN, *names)}) for e in asked]
    known = {name: KNOWN[name] for name in (DOMAIN, *names)}
    plain = {DOMAIN: ["arithmetic_mini", "ifeval_mini"]}
    studied = replicates(collect(asked, known), known, {DOMAIN: weights}, plain=plain)
    base, sft = (row for _, row in tradeoff(studied, {"sft-1e-06-0": COST | UPDATE}).iterrows())
    scores = {"arithmetic_mini": 0.75, "ifeval_mini": 0.5}
    expected = sum(scores[name] * weight for name, weight in weights.items()) / sum(weights.values())
    assert base["general_score"] == pytest.approx(expected)
    assert base["general_plain"] == pytest.approx((0.75 + 0.5) / 2)
    share = weights.get("arithmetic_mini", 0.0) / sum(weights.values())
    assert sft["general_change"] == pytest.approx(-0.5 * share)
    assert sft["general_plain_change"] == pytest.approx(-0.25)


def test_the_trade_off_stops_where_run_and_base_were_asked_different_items(entries):
    path = entries[1].folder / "samples.parquet"
    pq.write_table(table([*items(BETTER)[:3], *items(BETTER)[4:]], PROMPTING), path)
    with pytest.raises(UserError, match="asked different items"):
        replicates(collect(entries, BENCHMARKS), BENCHMARKS, SCORED)


def test_the_schema_of_a_trade_off_follows_from_the_study_alone():
    names = schemas.tradeoff(["a", "b"]).names
    assert names.index("a") < names.index("b")
    assert {"a_low", "a_change", "b_change_low", "domain_code_length_change_high"} <= set(names)
    assert not any(recipe in name for name in names for recipe in ("lora", "talr", "tau"))


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)], [True, True, True]),
        ([(0.0, 1.0), (1.0, 0.0), (0.0, 0.5)], [True, True, False]),
        ([(1.0, 1.0), (1.0, 0.5), (0.5, 1.0)], [True, False, False]),
        ([(0.5, 0.5), (0.5, 0.5)], [True, True]),
        ([(0.2, 0.3)], [True]),
        ([], []),
    ],
)
def test_the_pareto_front_is_what_nothing_beats(points, front):
    assert pareto(points) == front


def test_the_front_is_marked_in_the_trade_off(samples, updates):
    found = tradeoff(replicates(samples, BENCHMARKS, SCORED), updates).set_index("method")["pareto"]
    assert found.to_dict() == {BASE: True, "sft": True, "lora": True}  # lora is the base; sft trades


# Asked alike


def test_scores_of_one_benchmark_under_different_settings_are_refused(entries):
    for changed, told in (
        ({"num_fewshot": 5}, "num_fewshot is 0 for base and 5 for sft"),
        ({"max_new_tokens": 256}, "max_new_tokens is 48 for base and 256 for sft"),
        ({"template": "other"}, "template is 'none' for base and 'other' for sft"),
        ({"system_turn": IN_USER_TURN}, f"system_turn is '{NO_TEMPLATE}' for base and '{IN_USER_TURN}' for sft"),
        ({"system_prompt": "Be brief."}, "system_prompt is None for base and 'Be brief.' for sft"),
        ({"batch_tokens": 16}, "batch_tokens is 8 for base and 16 for sft"),
        ({"packages": "torch 3"}, "packages is 'torch 2' for base and 'torch 3' for sft"),
        ({"device": "cuda"}, "device is 'cpu' for base and 'cuda' for sft"),
        ({"precision": "bfloat16"}, "precision is 'float32' for base and 'bfloat16' for sft"),
    ):
        pq.write_table(table(items(BETTER), replace(PROMPTING, **changed)), entries[1].folder / "samples.parquet")
        with pytest.raises(UserError, match=told):
            collect(entries, BENCHMARKS)


def test_a_run_that_read_other_prompts_than_its_base_is_refused(entries):
    pq.write_table(table(items(BETTER, prompt="p, as of today"), PROMPTING), entries[1].folder / "samples.parquet")
    with pytest.raises(
        UserError, match=r"tiny and its runs read different prompts for medcalc_mini-0 and 11 more items"
    ):
        collect(entries, BENCHMARKS)


def test_other_base_models_may_have_other_templates(tmp_path, entries):
    other = entry(tmp_path / "other", outcomes=OUTCOMES)
    pq.write_table(table(items(OUTCOMES), replace(PROMPTING, template="other")), other.folder / "samples.parquet")
    found = collect([*entries, Entry(**vars(other) | {"model": "another"})], BENCHMARKS)
    assert found.groupby("model")["template"].unique().str.join("").to_dict() == {"tiny": "none", "another": "other"}


def test_a_metric_under_filters_is_one_score_a_filter(tmp_path):
    asked = entry(tmp_path)
    strict, lenient = "exact_match,strict", "exact_match,lenient"
    rows = [
        Sample(
            **{
                **vars(row),
                "values": {
                    strict: 0.0,
                    "invalid,strict": 1.0,
                    lenient: row.values["exact_match"],
                    "invalid,lenient": 0.0,
                },
                "weights": dict.fromkeys((strict, "invalid,strict", lenient, "invalid,lenient"), 1.0),
            }
        )
        if row.benchmark == "arithmetic_mini"
        else row
        for row in items(OUTCOMES)
    ]
    pq.write_table(table(rows, PROMPTING), asked.folder / "samples.parquet")
    known = BENCHMARKS | {"arithmetic_mini": replace(BENCHMARKS["arithmetic_mini"], metrics=(lenient, strict))}
    found = scores(collect([asked], known)).set_index(["benchmark", "metric", "filter"]).loc["arithmetic_mini"]
    assert found["value"].to_dict() == {("exact_match", "strict"): 0.0, ("exact_match", "lenient"): 0.75}
    assert found["n_invalid"].to_dict() == {("exact_match", "strict"): 4, ("exact_match", "lenient"): 0}


def test_a_metric_of_a_single_item_has_no_standard_error(tmp_path):
    asked = entry(tmp_path)
    rows = [
        Sample(
            **{
                **vars(row),
                "values": {**row.values, "accuracy_lab": 1.0},
                "weights": {**row.weights, "accuracy_lab": 1.0},
            }
        )
        if row.item == f"{DOMAIN}-0"
        else row
        for row in items(OUTCOMES)
    ]
    pq.write_table(table(rows, PROMPTING), asked.folder / "samples.parquet")
    schemas.write(tmp_path / "scores.parquet", scores(collect([asked], BENCHMARKS)), schemas.SCORES)
    found = schemas.read(tmp_path / "scores.parquet").set_index("metric").loc["accuracy_lab"]
    assert (found["value"], found["n"]) == (1.0, 1)
    assert pd.isna(found["stderr"])
