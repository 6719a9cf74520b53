"""Tasks and groups of lm-eval: scores are those of lm-eval with its own model object, item by item."""

import itertools
import logging
import math

import local_tasks
import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.registry import get_aggregation
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from tradeoff.errors import UserError
from tradeoff.evaluation.harness import data, metrics
from tradeoff.evaluation.harness.described import benchmark
from tradeoff.evaluation.harness.task import HarnessTask
from tradeoff.evaluation.lm import respond
from tradeoff.models import generation
from tradeoff.models.chat import Chat
from tradeoff.models.generation import score
from tradeoff.provenance import read_json

SETTINGS = {"seed": 0, "system_prompt": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return local_tasks.write(tmp_path_factory.mktemp("tasks") / "own")


@pytest.fixture(scope="module")
def fetched(folder, tmp_path_factory):
    """The card of a benchmark's data, fetched once."""
    cards = {}

    def fetch(known):
        if known.name not in cards:
            cards[known.name] = tmp_path_factory.mktemp("cards") / f"{known.name}.json"
            data.fetch(known, None, cards[known.name])
        return cards[known.name]

    return fetch


def ours(model, known, card, template=None, items=None, context=None):
    """A model's samples by our own engine."""
    chat = Chat(tiny.tokenizer(template), stops=frozenset({tiny.END_ID}))
    asked = HarnessTask(known, items, {}, chat, context, SETTINGS, card)
    scored = score(model, asked.sequences, tiny.END_ID, 2000)

    def generate(*, prompts, done, scored):
        generation.generate(model, prompts, {tiny.END_ID}, tiny.END_ID, 4000, done=done, scored=scored)

    (responses,) = respond(generate, chat, [asked.questions], context)
    return asked.samples(responses, scored)


def theirs(model, task, folder, template=None, context=None):
    """lm-eval's results, with its own model object."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = HFLM(pretrained=model, tokenizer=tiny.tokenizer(template), batch_size=1, max_length=context)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    options = {"apply_chat_template": template is not None, "fewshot_as_multiturn": template is not None}
    return simple_evaluate(own, tasks=[task], task_manager=manager, log_samples=True, bootstrap_iters=0, **options)


def mean(samples, key):
    having = [s for s in samples if key in s.values]
    return sum(s.values[key] * s.weights[key] for s in having) / sum(s.weights[key] for s in having)


@pytest.mark.parametrize("template", [tiny.CHATML, None])
@pytest.mark.parametrize("name", ["local_choice_a", "local_choice_b", "local_inputs", "local_last_word"])
def test_likelihoods_are_scored_as_by_lm_eval_item_by_item(tiny_model, folder, fetched, name, template):
    known = benchmark(name, name, str(folder), None)
    samples = ours(tiny_model, known, fetched(known), template)
    rows = sorted(theirs(tiny_model, name, folder, template)["samples"][name], key=lambda row: row["doc_id"])
    assert [s.item for s in samples] == [f"{name}-{row['doc_id']:05}" for row in rows]
    assert len(rows) == local_tasks.SIZES[name]
    for sample, row in zip(samples, rows, strict=True):
        assert sample.prompt == row["arguments"][0][0]
        for metric in row["metrics"]:
            value = -row[metric] if metric == "perplexity" else row[metric]
            assert sample.values["log_perplexity" if metric == "perplexity" else metric] == pytest.approx(
                value, abs=1e-3
            )
    assert known.bounded
    assert known.metrics == ("acc",)


@pytest.mark.parametrize("context", [2048, 24])
def test_a_text_is_scored_whole_as_by_lm_eval_in_parts_where_the_context_is_short(tiny_model, folder, fetched, context):
    known = benchmark("local_text", "local_text", str(folder), "bits_per_byte")
    samples = ours(tiny_model, known, fetched(known), context=context)
    results = theirs(tiny_model, "local_text", folder, context=context)
    rows = sorted(results["samples"]["local_text"], key=lambda row: row["doc_id"])
    assert max(len(row["doc"]["text"]) for row in rows) > 24
    for sample, row in zip(samples, rows, strict=True):
        log_likelihood, count = row["bits_per_byte"]
        assert sample.values["bits_per_byte"] == pytest.approx(-log_likelihood / count / math.log(2), abs=1e-5)
    whole = results["results"]["local_text"]
    assert mean(samples, "bits_per_byte") == pytest.approx(whole["bits_per_byte,none"], abs=1e-5)
    assert math.exp(mean(samples, "log_word_perplexity")) == pytest.approx(whole["word_perplexity,none"], rel=1e-4)
    assert (known.bounded, known.metrics) == (False, ("bits_per_byte",))


@pytest.mark.parametrize("template", [tiny.CHATML, None])
def test_answers_are_read_by_the_task_files_own_functions(tiny_model, folder, fetched, template):
    known = benchmark("local_words", "local_words", str(folder), None)
    samples = ours(tiny_model, known, fetched(known), template)
    results = theirs(tiny_model, "local_words", folder, template)
    rows = sorted(results["samples"]["local_words"], key=lambda row: row["doc_id"])
    assert [s.response for s in samples] == [row["resps"][0][0] for row in rows]
    assert [s.values["letters"] for s in samples] == [sum(row["letters"]) / len(row["letters"]) for row in rows]
    assert mean(samples, "letters") == pytest.approx(results["results"]["local_words"]["letters,none"])
    assert {len(s.values) for s in samples} == {1}, "the largest of all is no mean over items"
    assert (known.max_new_tokens, known.metrics) == (12, ("letters",))


@pytest.mark.parametrize(("name", "metrics"), [("local_by_size", ("acc", "acc_norm")), ("local_plain", ("acc",))])
def test_a_groups_metric_is_its_items_weighted_mean_as_lm_eval_aggregates_it(
    tiny_model, folder, fetched, name, metrics
):
    known = benchmark(name, name, str(folder), None)
    samples = ours(tiny_model, known, fetched(known))
    whole = theirs(tiny_model, name, folder)["groups"][name]
    plain = {key: sum(s.values[key] for s in samples) / len(samples) for key in metrics}
    for key in metrics:
        assert mean(samples, key) == pytest.approx(whole[f"{key},none"]), key
    if name == "local_plain":
        assert plain["acc"] != pytest.approx(whole["acc,none"]), "tasks of different sizes would show nothing"
    assert len({s.item for s in samples}) == len(samples)


def test_a_group_without_a_metric_in_common_is_the_mean_of_its_members(tiny_model, folder, fetched):
    known = benchmark("local_all", "local_all", str(folder), None)
    samples = ours(tiny_model, known, fetched(known))
    parts = theirs(tiny_model, "local_all", folder)["results"]
    members = [
        parts["local_by_size"]["acc,none"],
        parts["local_words"]["letters,none"],
        parts["local_inputs"]["acc,none"],
    ]
    assert known.metrics == ("mean_of_members",)
    assert mean(samples, "mean_of_members") == pytest.approx(sum(members) / 3)
    assert (known.num_fewshot, known.max_new_tokens) == (None, None), "each of its tasks has its own"


def test_items_of_a_group_are_drawn_in_proportion_and_keep_the_groups_weights(tiny_model, folder, fetched):
    known = benchmark("local_by_size", "local_by_size", str(folder), None)
    samples = ours(tiny_model, known, fetched(known), items=6)
    by_task = {name: [s for s in samples if s.item.startswith(name)] for name in ("local_choice_a", "local_choice_b")}
    assert [len(part) for part in by_task.values()] == [4, 2]
    totals = [sum(s.weights["acc"] for s in part) for part in by_task.values()]
    assert totals[0] / totals[1] == pytest.approx(11 / 4), "a task counts by all its items, however many are drawn"
    every = {s.item: s for s in ours(tiny_model, known, fetched(known))}
    for sample in samples:  # lm-eval draws the solved examples anew for each item that is asked
        assert sample.prompt.split("\n")[-2:] == every[sample.item].prompt.split("\n")[-2:]
        assert sample.target == every[sample.item].target
    again = ours(tiny_model, known, fetched(known), items=6)
    assert [s.item for s in again] == [s.item for s in samples]


def test_the_data_are_in_the_card_with_their_rows_and_hash_and_in_the_task_version(tiny_model, folder, fetched):
    known = benchmark("local_by_size", "local_by_size", str(folder), None)
    card = read_json(fetched(known))
    assert [source["rows"] for source in card["sources"]] == [{"test": 11, "train": 8}, {"test": 4, "train": 8}]
    assert [source["path"] for source in card["sources"]] == ["json", "json"]
    versions = {s.task_version for s in ours(tiny_model, known, fetched(known), items=2)}
    digests = [f"json@sha256:{source['sha256'][:12]}" for source in card["sources"]]
    assert versions == {f"3+{digests[0]}+{digests[1]}"}


def test_data_fetched_again_have_the_same_hash_and_a_damaged_file_is_told(folder, tmp_path):
    known = benchmark("local_text", "local_text", str(folder), None)
    cards = [tmp_path / f"{n}/local_text.json" for n in range(2)]
    for card in cards:
        data.fetch(known, None, card)
    assert read_json(cards[0])["sha256"] == read_json(cards[1])["sha256"]
    file = next(cards[0].with_suffix("").rglob("*.arrow"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"damaged or changed since local_text\.json was written"):
        data.splits(cards[0], "local_text")


def rendered(known, card):
    """The prompts of a benchmark whose data are fetched first."""
    data.fetch(known, None, card)
    return HarnessTask(known, None, {}, Chat(tiny.tokenizer(None)), None, SETTINGS, card).prompts


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("dataset_path: nowhere/at-all", "general.odd: the data set nowhere/at-all is not in the hub's cache"),
        ("dataset_kwargs: {data_files: {test: [FOLDER/odd.json]}}", "general.odd: the data set json cannot be loaded"),
        ("validation_split: dev", "general.odd: json has no split dev; it has test"),
        ("doc_to_choice: '{{nothing'", "general.odd: lm-eval cannot build odd from its data"),
        ("process_docs: !function functions.missing", "general.odd: the function functions.missing of"),
    ],
)
def test_a_task_that_cannot_be_evaluated_is_told_in_one_line(folder, tmp_path, monkeypatch, change, told):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own = local_tasks.write(tmp_path / "own")
    content = (own / "local_inputs.yaml").read_text().replace("local_inputs", "odd")
    lines = [line for line in content.splitlines() if not line.startswith(change.partition(":")[0])]
    (own / "odd.yaml").write_text("\n".join([*lines, change.replace("FOLDER", str(own))]))
    if "data_files" in change:
        (own / "odd.json").write_text("{")
    elif "dataset_path" not in change:
        (own / "odd.jsonl").write_text((own / "local_inputs.jsonl").read_text())
    known = benchmark("odd", "odd", str(own), None)
    with pytest.raises(UserError) as error:
        rendered(known, tmp_path / "odd.json")
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", metrics.TRIED)
def test_kinds_of_means_are_told_apart(kind):
    aggregation = {
        "mean": lambda items: float(np.mean(items)),
        "lists": lambda items: sum(x for item in items for x in item) / sum(map(len, items)),
        "log_mean": get_aggregation("perplexity"),
        "log_pairs": get_aggregation("weighted_perplexity"),
        "bits": get_aggregation("bits_per_byte"),
        "brier": get_aggregation("brier_score"),
    }[kind]
    assert metrics.kind_of(aggregation) == kind
    for other in ("f1", "matthews_corrcoef", "bleu", "chrf", "ter", "median", "bypass"):
        assert metrics.kind_of(get_aggregation(other)) is None
    assert metrics.kind_of(get_aggregation("nanmean")) == "mean"


@given(
    st.dictionaries(st.text(min_size=1), st.integers(1, 400), min_size=1, max_size=60).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.integers(len(sizes), sum(sizes.values())))
    )
)
def test_every_task_of_a_group_has_an_item_and_their_number_is_what_was_asked(drawn):
    sizes, count = drawn
    found = metrics.allocated(count, sizes, "x")
    assert sum(found.values()) == count
    assert all(1 <= found[name] <= size for name, size in sizes.items())
    for one, other in itertools.combinations(sizes, 2):
        assert sizes[one] < sizes[other] or found[one] + 1 >= found[other], "more of a larger task"


def test_a_data_set_under_a_data_root_that_changed_is_read_anew(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/rooted.yaml").write_text(
        "task: rooted\ndataset_path: owner/rooted\noutput_type: loglikelihood_rolling\n"
        "test_split: test\ndoc_to_text: ''\ndoc_to_target: text\n"
    )
    known = benchmark("rooted", "rooted", str(tmp_path / "own"), None)
    folder = tmp_path / "root/owner/rooted"
    folder.mkdir(parents=True)
    cards = [tmp_path / f"{n}/rooted.json" for n in range(2)]
    for card, text in zip(cards, ("one", "two"), strict=True):
        (folder / "test.jsonl").write_text(f'{{"text": "{text}"}}\n')
        data.fetch(known, str(tmp_path / "root"), card)
    assert [data.splits(card, "rooted")["test"]["text"] for card in cards] == [["one"], ["two"]]
    assert not list(tmp_path.rglob(data.CACHE))
