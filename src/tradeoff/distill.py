"""Responses that a teacher model writes: those whose answer is right are kept.

Rejection sampling, as in STaR (Zelikman et al. 2022, arXiv 2203.14465) without its hints: the teacher reads what the
student will read; its most likely response is taken if the domain's own score calls it right, and else a drawn one, of
a few tries. A training question without a right response is left out, so the card says how many there were. A test item
without one stays, with an empty response: its score does not hang on it, and its code length is not measured.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tradeoff import data, domains, machine
from tradeoff.domains import Domain, Example
from tradeoff.errors import UserError, command
from tradeoff.evaluation.lm import Question, respond
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.chat import Chat
from tradeoff.models.generation import argmax, drawn, generate
from tradeoff.models.precision import DTYPES, device
from tradeoff.progress import Progress
from tradeoff.provenance import CARD, read_json

DRAWS = 3  # after the most likely response


def distill(
    teacher: PreTrainedModel,
    chat: Chat,
    domain: Domain,
    questions: list[Example],
    batch_tokens: int,
    seed: int,
) -> list[Example]:
    """The questions to which the teacher found a right response, with it, in their order; its reasoning is left out."""
    asked = [Question(chat.prompt(question.messages), domain.max_new_tokens) for question in questions]
    found: dict[int, str] = {}
    for attempt in range(1 + DRAWS):
        left = [i for i in range(len(questions)) if i not in found]
        progress = Progress(f"distill, attempt {attempt + 1}", len(left))
        choose = drawn(seed + attempt) if attempt else argmax
        engine = partial(
            generate, teacher, ends=chat.ends, pad_id=chat.pad_id, batch_tokens=batch_tokens, choose=choose
        )
        (responses,) = respond(engine, chat, [[asked[i] for i in left]], report=progress.advance)
        for i, response in zip(left, responses, strict=True):
            text = response.text.strip()
            if not response.truncated and _is_right(domain, text, questions[i]):
                found[i] = text
    return [replace(questions[i], response=found[i]) for i in sorted(found)]


def _is_right(domain: Domain, text: str, question: Example) -> bool:
    return domain.score(text, question.answer).values[domain.metrics[0].name] == 1


def main() -> None:
    """`python -m tradeoff.distill SPEC TEACHER QUESTIONS OUTPUT`."""
    parser = argparse.ArgumentParser(prog="python -m tradeoff.distill", description="Let a teacher write responses.")
    parser.add_argument("spec", type=json.loads, help="JSON of Study.data_spec")
    parser.add_argument("teacher", type=Path, help="folder of a base model")
    parser.add_argument("questions", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON of Study.distill_spec")
    a = parser.parse_args()
    machine.take()
    model = load_base(a.teacher, DTYPES[a.settings["precision"]]).to(device())
    questions = data.read(a.questions)
    domain = domains.build(a.spec["domain"])
    kept = distill(model, load_chat(a.teacher), domain, questions, a.settings["batch_tokens"], a.spec["seed"])
    split = a.spec["split"]
    if not kept:
        raise UserError(
            f"{a.teacher.name} answered none of {len(questions)} {split} questions right, so there is nothing to learn "
            f"from or to compare with; name a stronger teacher, or raise data.{split}"
        )
    card: dict[str, Any] = {
        "spec": a.spec,
        "teacher_sha256": read_json(a.teacher / CARD)["sha256"],
        "asked": len(questions),
        "acceptance_rate": len(kept) / len(questions),
    }
    answered = {example.id: example for example in kept}
    of_test = [answered.get(question.id, replace(question, response="")) for question in questions]
    data.write(a.output, kept if split == "train" else of_test, card)
    print(f"{a.output}: {len(kept)} of {len(questions)} responses were right and kept")


if __name__ == "__main__":
    command(main)
