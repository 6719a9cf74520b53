"""Common knowledge: questions with four short answers, of which the right one should be the likeliest to the model.

Source: ours. `knowledge_mini.tsv` has 134 items each of everyday knowledge (geography, nature, history, materials,
measures), language (synonyms, opposites, grammar, spelling, sentences to complete) and simple reasoning (cause and
effect, physical common sense, the word that does not belong, inference). No item was chosen by what a model says to it.
A choice is scored by the log-likelihood of its text, not of a letter, after the question and "Answer:".

`p_right` stands for the benchmark: it has the smaller standard error for the same difference. SmolLM2-135M-Instruct on
all items, paired with itself after two changes of its weights, change and standard error:

    changed by                                            p_right           acc               acc flips on
    noise of 0.5 % of each tensor's size                  -0.006 (0.0010)   -0.012 (0.0074)    2 %
    20 steps of AdamW at 1e-4 on tickets, 8 a step        +0.041 (0.012)    +0.042 (0.021)    18 %

It moves with the model's confidence too, where no answer flips, so `acc` stands beside it. It is the softmax of the
plain log-likelihoods. Divided by the number of characters these are as precise on noise, -0.0017 (0.0003), and more so
on the tickets, +0.029 (0.004), but give the four choices nearly the same probability (0.36 for the right one, plain
0.62): a point of the general score would then mean another loss on this benchmark than on the others.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import datasets

from tradeoff.domains import p_right
from tradeoff.draws import draw

FILE = Path(__file__).with_suffix(".tsv")
PARTS = ("everyday", "language", "reasoning")
MOST_ITEMS = 402


def items(count: int | None = 64, seed: int = 0, **_: Any) -> dict[str, datasets.Dataset]:
    """The test split: `count` questions, or all, of the three parts in turn, the first of any longer draw.

    Raises:
        ValueError: more than `MOST_ITEMS` are asked for.
    """
    count = MOST_ITEMS if count is None else count
    if count > MOST_ITEMS:
        raise ValueError(f"knowledge_mini has at most {MOST_ITEMS} items, not {count}")
    rows = _rows()
    parts = [draw([r for r in rows if r["part"] == p], None, f"knowledge_mini {seed} {p}", FILE) for p in PARTS]
    in_turn = [row for three in zip(*parts, strict=True) for row in three]
    return {"test": datasets.Dataset.from_list(in_turn[:count])}


def process_results(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Scores of one item, from the log-likelihood of each choice in nats.

    `acc`: the likeliest choice is the right one; `acc_norm`: the likeliest for each of its characters is, both as
    lm-eval says. `p_right`: the probability of the right one among the four.
    """
    nll = [-log_likelihood for log_likelihood, _ in results]
    a_character = [n / len(choice) for n, choice in zip(nll, doc["choices"], strict=True)]
    right = doc["choices"].index(doc["answer"])
    return {
        "p_right": p_right(nll, right),
        "acc": float(nll.index(min(nll)) == right),
        "acc_norm": float(a_character.index(min(a_character)) == right),
    }


def _rows() -> list[dict[str, Any]]:
    """All items of the file; each of the four places has the right choice as often as the others, whatever the draw."""
    lines = [line.split("\t") for line in FILE.read_text(encoding="utf-8").splitlines()[1:]]
    rows = []
    for part in PARTS:
        found = [line[1:] for line in lines if line[0] == part]
        places = [index % 4 for index in range(len(found))]
        random.Random(f"knowledge_mini {part}").shuffle(places)
        for (question, right, *wrong), place in zip(found, places, strict=True):
            choices = [*wrong[:place], right, *wrong[place:]]
            rows.append({"part": part, "question": question, "choices": choices, "answer": right})
    return rows
