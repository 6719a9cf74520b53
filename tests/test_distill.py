"""A teacher's responses: right ones are kept, in the teacher's words, and the card says how many there were."""

import json
import sys

import pytest
import tiny

from tradeoff import data, distill, domains
from tradeoff.errors import UserError
from tradeoff.evaluation.lm import Response
from tradeoff.models.chat import Chat
from tradeoff.provenance import read_json

DOMAIN = domains.kind("shop_mini")()
QUESTIONS = DOMAIN.examples("train", 6, 0, {})
WRONG = {"Exact": "Irrelevant", "Substitute": "Exact", "Complement": "Exact", "Irrelevant": "Exact"}


@pytest.fixture
def teacher(monkeypatch):
    """Answers question 0 right at once, 1 right but cut, 2 right when drawn a second time, and all others wrong."""
    chat = Chat(tiny.tokenizer())
    place = {chat.prompt(q.messages): n for n, q in enumerate(QUESTIONS)}

    def respond(model, chat, prompts, *_):
        return [
            Response(f" I say {QUESTIONS[n].response if n < 2 else WRONG[QUESTIONS[n].response]} ", truncated=n == 1)
            for n in (place[prompt] for prompt in prompts)
        ]

    def generate(model, heads, limits, ends, pad_id, seed):
        texts = []
        for head in heads:
            n = place[chat.tokenizer.decode(head)]
            right = n == 2 and seed == 7 + 2
            texts.append(f"Drawn: {QUESTIONS[n].response if right else WRONG[QUESTIONS[n].response]}")
        return [[*chat.tokenizer(text)["input_ids"], tiny.END_ID] for text in texts]

    monkeypatch.setattr(distill, "respond", respond)
    monkeypatch.setattr(distill, "drawn", lambda seed: seed)
    monkeypatch.setattr(distill, "generate", generate)
    return chat


def test_right_responses_are_kept_in_the_teachers_words(teacher):
    kept = distill.distill(None, teacher, DOMAIN, QUESTIONS, 4, 7)
    assert [(e.id, e.response) for e in kept] == [
        (QUESTIONS[0].id, f"I say {QUESTIONS[0].response}"),
        (QUESTIONS[2].id, f"Drawn: {QUESTIONS[2].response}"),
    ]
    assert [e.answer for e in kept] == [QUESTIONS[0].answer, QUESTIONS[2].answer]
    assert [e.messages for e in kept] == [QUESTIONS[0].messages, QUESTIONS[2].messages]


def command(tmp_path, base, questions, monkeypatch):
    data.write(tmp_path / "questions.jsonl", questions, {})
    spec = {"domain": {"domain": "shop_mini"}, "seed": 7}
    settings = {"precision": "float32", "batch_size": 4}
    arguments = [json.dumps(spec), str(base), str(tmp_path / "questions.jsonl"), str(tmp_path / "train.jsonl")]
    monkeypatch.setattr(sys, "argv", ["distill", *arguments, "--settings", json.dumps(settings)])
    distill.main()


def test_the_card_has_the_acceptance_rate(teacher, tiny_base, tmp_path, monkeypatch):
    command(tmp_path, tiny_base, QUESTIONS, monkeypatch)
    card = read_json(tmp_path / "train.json")
    assert (card["asked"], card["examples"], card["acceptance_rate"]) == (6, 2, pytest.approx(1 / 3))
    assert card["teacher_sha256"] == read_json(tiny_base / "card.json")["sha256"]
    assert len(data.read(tmp_path / "train.jsonl")) == 2


def test_a_teacher_that_is_never_right_stops(teacher, tiny_base, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="answered none of 3 questions right"):
        command(tmp_path, tiny_base, QUESTIONS[3:], monkeypatch)
    assert not (tmp_path / "train.jsonl").exists()


def test_a_real_teacher_writes_and_is_asked_anew(tiny_base, tmp_path, monkeypatch):
    """The tiny model writes noise: with a score that takes any text that ended, its own words are kept."""
    monkeypatch.setattr(
        domains.kind("shop_mini"), "score", lambda *_: domains.Outcome({"balanced_accuracy": 1.0, "accuracy": 1.0})
    )
    monkeypatch.setattr(domains.kind("shop_mini"), "max_new_tokens", 400)
    try:
        command(tmp_path, tiny_base, QUESTIONS, monkeypatch)
    except UserError as error:
        pytest.fail(f"400 random tokens of 261 held no end token, six times four: {error}")
    assert all(e.response not in WRONG for e in data.read(tmp_path / "train.jsonl"))
