"""Task files of every output type with their data beside them, as a person may have them: no hub, no network."""

import json
import random
from pathlib import Path

SIZES = {"local_choice_a": 11, "local_choice_b": 4, "local_inputs": 6, "local_last_word": 5, "local_text": 4}
SIZES |= {"local_words": 7}
WORDS = ("sun", "moon", "tree", "stone", "river", "bird", "cloud", "road", "house", "light", "night", "day", "wind")
CHOICE = """
task: {name}
tag: local_choices
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/{name}_train.jsonl, test: {folder}/{name}.jsonl}}}}
output_type: multiple_choice
training_split: train
test_split: test
num_fewshot: {shots}
description: "Choose the word.\\n\\n"
doc_to_text: "Which word is {{{{question}}}}?\\nAnswer:"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
OTHERS = {
    "local_inputs": """
output_type: multiple_choice
test_split: test
doc_to_text: answer
doc_to_choice: choices
doc_to_target: ending
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 2.0}
""",
    "local_last_word": """
output_type: loglikelihood
test_split: test
doc_to_text: context
doc_to_target: " {{word}}"
metadata: {version: 1.0}
""",
    "local_text": """
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: text
metadata: {version: 1.0}
""",
    "local_words": """
output_type: generate_until
test_split: test
doc_to_text: "Say {{word}}."
doc_to_target: word
generation_kwargs: {until: ["q"], max_gen_toks: 12}
process_results: !function functions.process_results
metric_list:
  - {metric: letters, aggregation: !function functions.pooled, higher_is_better: true}
  - {metric: odd, aggregation: !function functions.largest, higher_is_better: true}
metadata: {version: 1.0}
""",
}
FUNCTIONS = """
def process_results(doc, results):
    return {"letters": [letter in results[0] for letter in doc["word"]], "odd": len(results[0]) % 2}


def pooled(items):
    every = [verdict for item in items for verdict in item]
    return sum(every) / len(every)


def largest(items):
    return max(items)
"""
GROUPS = {
    "local_by_size": """
group: local_by_size
task: [local_choice_a, local_choice_b]
aggregate_metric_list: [{metric: acc, weight_by_size: true}, {metric: acc_norm, weight_by_size: false}]
metadata: {version: 3}
""",
    "local_plain": """
group: local_plain
task: [local_choices, local_inputs]
aggregate_metric_list: [{metric: acc, weight_by_size: false}]
metadata: {version: 1}
""",
    "local_all": """
group: local_all
task:
  - local_by_size
  - local_words
  - {task: local_inputs, num_fewshot: 0}
""",
}


def write(folder: Path) -> Path:
    """Writes task files, their functions and their data into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for shots, name in ((2, "local_choice_a"), (0, "local_choice_b")):
        (folder / f"{name}.yaml").write_text(CHOICE.format(name=name, folder=folder, shots=shots))
        _rows(folder / f"{name}.jsonl", _choices(name, SIZES[name]))
        _rows(folder / f"{name}_train.jsonl", _choices(f"{name} train", 8))
    for name, content in OTHERS.items():
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder}/{name}.jsonl}}}}"
        (folder / f"{name}.yaml").write_text(head + content)
    draw = random.Random(0)
    some = [[draw.choice(WORDS) for _ in range(draw.randint(3, 30))] for _ in range(20)]
    inputs = [
        {
            "choices": [f"The {a} saw the {b}, so the {a}", f"The {a} saw the {b}, so the {b}"],
            "ending": c,
            "answer": n % 2,
        }
        for n, (a, b, c) in enumerate(zip(WORDS, WORDS[1:], WORDS[2:], strict=False))
    ]
    _rows(folder / "local_inputs.jsonl", inputs[: SIZES["local_inputs"]])
    words = [{"context": " ".join(text[:-1]), "word": text[-1]} for text in some]
    _rows(folder / "local_last_word.jsonl", words[: SIZES["local_last_word"]])
    _rows(folder / "local_text.jsonl", [{"text": " ".join(text)} for text in some[: SIZES["local_text"]]])
    _rows(folder / "local_words.jsonl", [{"word": word} for word in WORDS[: SIZES["local_words"]]])
    (folder / "functions.py").write_text(FUNCTIONS)
    for name, content in GROUPS.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def _choices(seed: str, count: int) -> list[dict[str, object]]:
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        choices = draw.sample(WORDS, 3)
        rows.append({"question": " or ".join(choices), "choices": choices, "answer": draw.randrange(3)})
    return rows


def _rows(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
