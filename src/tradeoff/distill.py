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
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tradeoff import data, domains, machine
from tradeoff.domains import Domain, Example
from tradeoff.errors import UserError, command
from tradeoff.evaluation.lm import Response, respond, response_of
from tradeoff.models.base import load_base, load_chat
from tradeoff.models.chat import Chat
from tradeoff.models.generation import drawn, generate
from tradeoff.models.precision import DTYPES, device
from tradeoff.models.reasoning import opening
from tradeoff.progress import Progress
from tradeoff.provenance import CARD, read_json

DRAWS = 3  # after the most likely response


def distill(
    teacher: PreTrainedModel,
    chat: Chat,
    domain: Domain,
    questions: list[Example],
    batch_size: int,
    seed: int,
) -> list[Example]:
    """The questions to which the teacher found a right response, with it, in their order; its reasoning is left out."""
    prompts = [chat.prompt(question.messages) for question in questions]
    found: dict[int, str] = {}
    for attempt in range(1 + DRAWS):
        left = [i for i in range(len(questions)) if i not in found]
        progress = Progress(f"distill, attempt {attempt + 1}", len(left))
        for start in range(0, len(left), batch_size):
            chosen = left[start : start + batch_size]
            asked = [prompts[i] for i in chosen]
            written = _written(teacher, chat, asked, domain.max_new_tokens, attempt, seed)
            for i, response in zip(chosen, written, strict=True):
                text = response.text.strip()
                if not response.truncated and _is_right(domain, text, questions[i]):
                    found[i] = text
            progress.advance(len(chosen))
    return [replace(questions[i], response=found[i]) for i in sorted(found)]


def _is_right(domain: Domain, text: str, question: Example) -> bool:
    return domain.score(text, question.answer).values[domain.metrics[0].name] == 1


def _written(
    teacher: PreTrainedModel,
    chat: Chat,
    prompts: list[str],
    limit: int,
    attempt: int,
    seed: int,
) -> list[Response]:
    """A response to each prompt, the most likely one at the first attempt."""
    if attempt == 0:
        return respond(teacher, chat, prompts, limit, len(prompts))
    heads, limits = [chat.prompt_ids(prompt) for prompt in prompts], [limit] * len(prompts)
    written = generate(teacher, heads, limits, chat.ends, chat.pad_id, drawn(seed + attempt))
    return [response_of(chat, ids, opening(prompt)) for ids, prompt in zip(written, prompts, strict=True)]


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
    kept = distill(model, load_chat(a.teacher), domain, questions, a.settings["batch_size"], a.spec["seed"])
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
