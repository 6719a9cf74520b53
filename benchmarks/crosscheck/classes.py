"""Macro-F1 and balanced accuracy of a domain's answers against scikit-learn: texts in, scores out.

The answers go the whole way that a study's do: a `choice` scorer reads them, `class_weights` and `scores` make the
metrics. scikit-learn gets the labels that were asked for and those that the answers were written to say.
"""

from __future__ import annotations

import random
import warnings
from importlib.metadata import version
from typing import Any

import pandas as pd
import rows
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from tradeoff import domains
from tradeoff.evaluation.samples import Prompting, Sample, table
from tradeoff.evaluation.weights import class_weights
from tradeoff.tables import schemas
from tradeoff.tables.scores import scores

TABLES, LABELS, NONE = 200, ["Exact", "Substitute", "Complement", "Irrelevant", "Other"], "(no answer)"
ROUNDING = 1e-12
WAYS = ["{}", "Answer: {}", "It is close.\nAnswer: {}", "**Answer:** {}", "Answer: **{}**."]


def main() -> None:
    warnings.simplefilter("ignore")  # scikit-learn's, of labels that are only predicted
    draw = random.Random(0)
    found: dict[str, list[float]] = {}
    odd = {"answers without a label": 0, "labels asked for and never given": 0, "labels given and never asked for": 0}
    with_none = 0
    for _ in range(TABLES):
        right, said = drawn(draw)
        ours = measured(right, said)
        theirs = by_sklearn(right, said)
        for name, value in theirs.items():
            found.setdefault(name, []).append(abs(ours[name.removesuffix(" by default")] - value))
        with_none += NONE in said
        odd["answers without a label"] += said.count(NONE)
        odd["labels asked for and never given"] += len({*right} - {*said})
        odd["labels given and never asked for"] += len({*said} - {*right, NONE})
    against = f"scikit-learn {version('scikit-learn')}"
    why = "an answer without a label is a class of its own there, and none here"
    made = [
        rows.of_numbers("metrics", against, name, of, ROUNDING, why if name.endswith("default") else None)
        for name, of in found.items()
    ]
    assert made[-1].differ <= with_none, "they differ where every answer has a label"
    rows.tell(made, odd=odd)


def drawn(draw: random.Random) -> tuple[list[str], list[str]]:
    """Right labels and given ones of 1 to 60 items; some labels may be absent, some answers name none."""
    asked, given = (draw.sample(LABELS, draw.randint(1, len(LABELS))) for _ in range(2))
    right = [draw.choice(asked) for _ in range(draw.randint(1, 60))]
    unread = draw.choice([0.0, 0.1, 0.5])
    return right, [NONE if draw.random() < unread else draw.choice([r, *given]) for r in right]


def measured(right: list[str], said: list[str]) -> dict[str, float]:
    """Our metrics, from responses."""
    domain: Any = domains.build(
        {"domain": "jsonl", "train": "train.jsonl", "test": "test.jsonl", "scorer": "choice", "choices": LABELS}
    )
    draw = random.Random(len(right))
    texts = ["I cannot tell." if label == NONE else draw.choice(WAYS).format(label) for label in said]
    answers = [{"label": label} for label in right]
    outcomes = [domain.score(text, answer) for text, answer in zip(texts, answers, strict=True)]
    of_classes = class_weights(domain.metrics, answers, outcomes)
    samples = [
        Sample(
            benchmark="d",
            task_version="1",
            item=str(number),
            prompt="",
            target="",
            response=text,
            truncated=False,
            invalid=outcome.invalid,
            values=dict(outcome.values),
            weights=dict.fromkeys(outcome.values, 1.0),
            class_weights=classes,
        )
        for number, (text, outcome, classes) in enumerate(zip(texts, outcomes, of_classes, strict=True))
    ]
    how = Prompting("none", "by the template", None, 0, 8, "transformers", "float32", 1, "", "cpu")
    frame = pd.DataFrame(table(samples, how).to_pylist())
    for name in schemas.SAMPLES.names:
        if name not in frame:
            frame[name] = None
    return dict(scores(frame)[["metric", "value"]].to_numpy().tolist())


def by_sklearn(right: list[str], said: list[str]) -> dict[str, float]:
    """The same by scikit-learn; macro-F1 over the labels that occur, and as it is without `labels`."""
    labels = sorted({*right, *said} - {NONE})
    return {
        "accuracy": accuracy_score(right, said),
        "balanced_accuracy": balanced_accuracy_score(right, said),
        "macro_f1": f1_score(right, said, labels=labels, average="macro", zero_division=0),
        "macro_f1 by default": f1_score(right, said, average="macro", zero_division=0),
    }


if __name__ == "__main__":
    main()
