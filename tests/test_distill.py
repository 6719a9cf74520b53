"""A teacher's responses: right ones are kept, in the teacher's words, and the card says how many there were."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
from test_esci import joined
from test_smoke import Tree, _edited

from tradeoff import data, distill, domains
from tradeoff.errors import UserError
from tradeoff.evaluation.lm import Question, respond
from tradeoff.models.base import load_base, load_chat, load_parameters
from tradeoff.models.generation import generate
from tradeoff.provenance import read_json

DOMAIN = domains.kind("shop_mini")(max_new_tokens=24)  # a response of bytes has room
QUESTIONS = DOMAIN.examples("train", 24, 0, {})
SAID = {label: f"{label} " for label in ("Exact", "Irrelevant")}


def taught(base: Path, folder: Path, questions: list[data.Example], *responses: str) -> Path:
    """The folder of a base that was taught to answer any question by one of some responses, each as often."""
    chat, model = load_chat(base), load_base(base)
    examples = [replace(question, response=response) for question in questions for response in responses]
    options = {"epochs": 20, "batch_size": 4, "parameters": load_parameters(base)}
    tiny.fit({"recipe": "sft"}, [chat.encode(example) for example in examples], 1e-2, model, **options)
    return tiny.base_folder(folder, model)


@pytest.fixture(scope="module")
def of_two_minds(tiny_base, tmp_path_factory):
    """A base model that says one of two things, as likely, at any question."""
    return taught(tiny_base, tmp_path_factory.mktemp("teacher"), QUESTIONS[:4], *SAID.values())


def command(tmp_path, base, questions, monkeypatch, split="train", limit=24):
    data.write(tmp_path / "questions.jsonl", questions, {})
    spec = {"domain": {"domain": "shop_mini", "max_new_tokens": limit}, "seed": 7, "split": split}
    settings = {"precision": "float32", "batch_tokens": 400}
    arguments = [json.dumps(spec), str(base), str(tmp_path / "questions.jsonl"), str(tmp_path / f"{split}.jsonl")]
    monkeypatch.setattr(sys, "argv", ["distill", *arguments, "--settings", json.dumps(settings)])
    distill.main()


def test_right_responses_are_kept_in_the_teachers_words_and_drawn_where_the_likeliest_is_wrong(of_two_minds):
    chat, model = load_chat(of_two_minds), load_base(of_two_minds)
    kept = distill.distill(model, chat, DOMAIN, QUESTIONS, 400, 7)
    told = {example.id: example for example in kept}
    assert [e.id for e in kept] == [q.id for q in QUESTIONS if q.id in told]
    engine = partial(generate, model, ends=chat.ends, pad_id=chat.pad_id)
    asked = [Question(chat.prompt(q.messages), DOMAIN.max_new_tokens) for q in QUESTIONS]
    (likeliest,) = respond(engine, chat, [asked])
    right, drawn = 0, 0
    for question, response in zip(QUESTIONS, likeliest, strict=True):
        if is_right(response.text, question) and not response.truncated:
            assert told[question.id] == replace(question, response=response.text.strip())
            right += 1
        elif question.id in told:
            assert is_right(told[question.id].response, question)
            drawn += 1
    assert right > 0
    assert drawn > 0
    assert distill.distill(model, chat, DOMAIN, QUESTIONS, 400, 7) == kept
    assert any(distill.distill(model, chat, DOMAIN, QUESTIONS, 400, seed) != kept for seed in range(8, 16))


def is_right(text, question):
    return DOMAIN.score(text, question.answer).values["accuracy"] == 1


def test_the_card_has_the_acceptance_rate(of_two_minds, tmp_path, monkeypatch):
    command(tmp_path, of_two_minds, QUESTIONS, monkeypatch)
    card = read_json(tmp_path / "train.json")
    kept = data.read(tmp_path / "train.jsonl")
    assert 0 < len(kept) < 24
    assert (card["asked"], card["examples"], card["acceptance_rate"]) == (24, len(kept), pytest.approx(len(kept) / 24))
    assert card["teacher_sha256"] == read_json(of_two_minds / "card.json")["sha256"]


def test_a_test_item_without_a_right_response_stays_and_has_none(of_two_minds, tmp_path, monkeypatch):
    command(tmp_path, of_two_minds, QUESTIONS, monkeypatch)
    command(tmp_path, of_two_minds, QUESTIONS, monkeypatch, "test")
    trained = {example.id: example.response for example in data.read(tmp_path / "train.jsonl")}
    tested = data.read(tmp_path / "test.jsonl")
    assert tested == [replace(question, response=trained.get(question.id, "")) for question in QUESTIONS]
    card = read_json(tmp_path / "test.json")
    assert (card["examples"], card["acceptance_rate"]) == (24, pytest.approx(len(trained) / 24))


def test_a_teacher_that_is_never_right_stops(of_two_minds, tmp_path, monkeypatch):
    others = [question for question in QUESTIONS if question.response not in SAID]
    with pytest.raises(UserError, match=f"answered none of {len(others)} train questions right"):
        command(tmp_path, of_two_minds, others, monkeypatch)
    assert not (tmp_path / "train.jsonl").exists()


def test_a_response_that_was_cut_is_not_kept(of_two_minds, tmp_path, monkeypatch):
    """Right by what there is of it, which the end token has yet to follow."""
    with pytest.raises(UserError, match="answered none of 24"):
        command(tmp_path, of_two_minds, QUESTIONS, monkeypatch, limit=5)


def test_the_rule_lets_a_teacher_write_and_trains_on_its_words(tmp_path, tiny_base):
    tree = Tree(tmp_path, tiny_base)
    tree.take_any_data()
    files = tmp_path / "files" / "esci"
    files.mkdir(parents=True)
    joined().to_parquet(files / "examples.parquet")
    domain = domains.build({"domain": "esci_cot", "teacher": "teacher", "max_new_tokens": 40})
    (needed,) = domain.data("train")
    questions = domain.examples("train", None, 0, {needed: files / "examples.parquet"})
    said = "They fit.\nAnswer: Exact"
    teacher = taught(tiny_base, tmp_path / "teacher", questions[:4], said)
    text = tree.study.read_text().replace(
        "domains: [shop_mini]",
        f'teachers: {{teacher: {{source: "folder:{teacher.parent}/source"}}}}\n'
        "domains: {esci_cot: {domain: esci_cot, teacher: teacher, max_new_tokens: 40}}",
    )
    tree.study.write_text(text.replace("train: 6", "train: 24"))
    drawn = tree.results / "data/esci_cot/train.jsonl"
    asked = ("--config", f"data_root={tmp_path / 'files'}", "--", str(drawn.relative_to(tmp_path)))
    tree.snakemake(*asked)
    card = read_json(drawn.with_suffix(".json"))
    assert 0 < card["acceptance_rate"] < 1
    kept = data.read(drawn)
    assert len(kept) == card["examples"] == round(card["asked"] * card["acceptance_rate"])
    assert all(domain.score(e.response, e.answer).values["accuracy"] == 1 for e in kept)
    assert said in {example.response for example in kept}

    def planned(evaluation):
        with _edited(tree.study, lambda text: text.replace("evaluation: {items: 3", f"evaluation: {{{evaluation}")):
            return tree.planned(*asked)

    assert planned('items: 2, system_prompt: "Be brief."') == {}
    assert planned("items: 3, precision: bfloat16") == {"distill": 1}
