"""One row an item: what was asked, what came back, what it earned. All statistics start from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from tradeoff.evaluation.lm import Response

VALUES = pa.map_(pa.string(), pa.field("value", pa.float64(), nullable=False))

SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("task_version", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("invalid", pa.bool_(), nullable=False),
        pa.field("reasoning", pa.string()),
        pa.field("reasoning_tokens", pa.int32(), nullable=False),
        pa.field("answer_tokens", pa.int32(), nullable=False),
        pa.field("unfinished", pa.bool_(), nullable=False),
        pa.field("too_long", pa.bool_(), nullable=False),
        pa.field("template", pa.string(), nullable=False),
        pa.field("system_turn", pa.string(), nullable=False),
        pa.field("system_prompt", pa.string()),
        pa.field("num_fewshot", pa.int32()),
        pa.field("max_new_tokens", pa.int32()),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("precision", pa.string(), nullable=False),
        pa.field("batch_tokens", pa.int32(), nullable=False),
        pa.field("packages", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("values", VALUES, nullable=False),
        pa.field("weights", VALUES, nullable=False),
        pa.field("class_weights", pa.map_(pa.string(), pa.field("classes", VALUES, nullable=False)), nullable=False),
        pa.field("token_nll", pa.list_(pa.float32())),
        pa.field("token_text", pa.list_(pa.string())),
        pa.field("text_bytes", pa.int32()),
        pa.field("question", pa.string()),
    ]
)
CODE = ("token_nll", "token_text", "text_bytes")  # of the text whose code length was measured
ASIDE = (*CODE, "question")  # in no table


@dataclass(frozen=True)
class Prompting:
    """How a benchmark's items were put to a model; scores under different settings are never compared.

    Attributes:
        template: Digest of the chat template with its arguments, date and prefix, or "none".
        system_turn: What becomes of a system turn; `Chat.system_turn`.
        system_prompt: System turn of a general benchmark; None without one, and for a domain, whose turns are its own.
        num_fewshot: Solved examples ahead of the question; None where a group's tasks have different numbers.
        max_new_tokens: Generation limit; None where nothing is generated, or likewise.
        engine: What wrote the answers.
        precision: Of the weights in evaluation.
        batch_tokens: Most tokens of a batch.
        packages: Versions of those that can move a score, and Python's.
        device: "cpu" or "cuda", whose kernels round differently.
    """

    template: str
    system_turn: str
    system_prompt: str | None
    num_fewshot: int | None
    max_new_tokens: int | None
    engine: str
    precision: str
    batch_tokens: int
    packages: str
    device: str


@dataclass(frozen=True)
class Sample:
    """One item of one benchmark.

    Attributes:
        benchmark: Its name.
        task_version: Its version.
        item: Identifies the item within the benchmark, the same for every model.
        prompt: The text that the model read.
        target: What the task file names as target.
        response: What the model answered, its reasoning left out; empty for a benchmark without generation.
        truncated: The response ended at the generation limit.
        invalid: No answer could be read from the response.
        values: A value for each metric; under one of lm-eval's filters it is called `metric,filter`.
        weights: The item's weight in each metric's mean.
        class_weights: Of a metric that is a mean over classes, the item's weight in the mean of each class.
        reasoning: What the model wrote ahead of its answer, None where there was none.
        reasoning_tokens: Tokens of the reasoning.
        answer_tokens: Tokens of the answer.
        unfinished: The model never left its reasoning.
        too_long: The prompt leaves no room in the model's context, so that the model was not asked.
        token_nll: The nll of each token whose code length was measured, nats; None where none was.
        token_text: The same tokens in letters.
        text_bytes: UTF-8 bytes of that text, without special tokens.
        question: The item's own text, without instructions, solved examples and template; of general benchmarks alone.
    """

    benchmark: str
    task_version: str
    item: str
    prompt: str
    target: str
    response: str
    truncated: bool
    invalid: bool
    values: dict[str, float]
    weights: dict[str, float]
    reasoning: str | None = None
    reasoning_tokens: int = 0
    answer_tokens: int = 0
    unfinished: bool = False
    too_long: bool = False
    class_weights: dict[str, dict[str, float]] = field(default_factory=dict)
    token_nll: list[float] | None = None
    token_text: list[str] | None = None
    text_bytes: int | None = None
    question: str | None = None


def written(response: Response) -> dict[str, Any]:
    """A response as the fields of a sample."""
    kept = asdict(replace(response, expected=()))
    del kept["expected"]
    return {"response": kept.pop("text"), **kept}


def table(samples: Iterable[Sample], prompting: Prompting) -> pa.Table:
    """Samples as an Arrow table of the declared schema."""
    how = asdict(prompting)
    rows = [
        {
            **asdict(s),
            **how,
            "values": sorted(s.values.items()),
            "weights": sorted(s.weights.items()),
            "class_weights": [(metric, sorted(of.items())) for metric, of in sorted(s.class_weights.items())],
        }
        for s in samples
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
