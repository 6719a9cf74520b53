"""The Arrow schemas of all tables. A table is written in its schema or not at all; nothing is inferred from data."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tradeoff.evaluation import samples
from tradeoff.parquet import read_parquet, write_parquet

VERSION = "8"


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


RUN = [
    _required("run_id", pa.string()),
    _required("model", pa.string()),
    pa.field("revision", pa.string()),
    pa.field("domain", pa.string()),  # null for the base, which belongs to every domain
    _required("method", pa.string()),
    _required("recipe", pa.string()),
    pa.field("learning_rate", pa.float64()),  # null for the base
    pa.field("seed", pa.int32()),  # null for the base
]
# How items were put to the models.
PROMPTING = [samples.SCHEMA.field(f.name) for f in fields(samples.Prompting)]

# How pandas holds columns that are null in some frames and not in others, so that no integer becomes a float.
NULLABLE = {"learning_rate": "Float64", "seed": "Int32", "max_new_tokens": "Int32", "num_fewshot": "Int32"}

SAMPLES = pa.schema([*RUN, *(field for field in samples.SCHEMA if field.name not in samples.ASIDE)])

SCORES = pa.schema(
    [
        *RUN,
        _required("benchmark", pa.string()),
        _required("task_version", pa.string()),
        *PROMPTING,
        _required("metric", pa.string()),
        _required("filter", pa.string()),
        _required("value", pa.float64()),
        pa.field("stderr", pa.float64()),  # null for a single item, about whose spread nothing is known
        _required("n", pa.int32()),
        _required("n_truncated", pa.int32()),
        _required("n_invalid", pa.int32()),
        _required("n_unfinished", pa.int32()),  # answers that never left the model's reasoning
        _required("n_too_long", pa.int32()),  # items that the model's context has no room for
        _required("reasoning_tokens", pa.int64()),  # over all items
        _required("answer_tokens", pa.int64()),
    ]
)


# One method at one learning rate on one domain; the base has neither method of its own nor rate.
POINT = [
    _required("model", pa.string()),
    _required("domain", pa.string()),
    _required("method", pa.string()),
    _required("recipe", pa.string()),
    pa.field("learning_rate", pa.float64()),  # null for the base
]
COST = [  # null for the base; of a derived run, its source's training; the mean over seeds
    pa.field("delta_norm", pa.float64()),
    pa.field("share_moved", pa.float64()),
    pa.field("share_kept_bfloat16", pa.float64()),
    pa.field("tokens", pa.int64()),
    pa.field("seconds", pa.float64()),
    pa.field("flops", pa.float64()),
    pa.field("peak_memory_bytes", pa.int64()),
    pa.field("energy_joules", pa.float64()),  # null where the machine does not tell
]


def _interval(name: str, nullable: bool = False, bounded: bool = True) -> list[pa.Field]:
    """An estimate with the ends of its 95 % interval.

    A number without bounds, such as nats, has no interval where it was measured on a single item: its ends are null.
    """
    ends = [pa.field(f"{name}_{end}", pa.float64(), nullable=nullable or not bounded) for end in ("low", "high")]
    return [pa.field(name, pa.float64(), nullable=nullable), *ends]


def tradeoff(benchmarks: list[str]) -> pa.Schema:
    """The schema of `tradeoff.parquet` for a study with these general benchmarks: six columns for each."""
    names = [f"{name}{end}" for name in [*benchmarks, "domain_code_length"] for end in ("", "_change")]
    parts = [field for name in names for field in _interval(name, bounded=False)]
    return pa.schema(
        [
            *POINT,
            _required("seeds", pa.int32()),
            *(f for side in ("domain", "general") for f in _interval(f"{side}_score") + _interval(f"{side}_change")),
            # The plain mean of all general benchmarks that score from 0 to 1, whatever the study's weights.
            *(field for name in ("general_plain", "general_plain_change") for field in _interval(name)),
            *parts,
            *COST,
            _required("n_truncated", pa.int32()),
            _required("n_invalid", pa.int32()),
            _required("pareto", pa.bool_()),
        ]
    )


# A method at a rate against the base, and against plain SFT at the same rate, in one metric of one benchmark, in pairs.
COMPARISONS = pa.schema(
    [
        *POINT,
        _required("against", pa.string()),  # "base", or the name of a method of recipe sft
        _required("benchmark", pa.string()),
        _required("metric", pa.string()),
        _required("filter", pa.string()),
        *_interval("difference", bounded=False),
        _required("n", pa.int32()),  # items
        _required("better", pa.int32()),  # items whose mean over seeds is higher
        _required("worse", pa.int32()),
        pa.field("p_value", pa.float64()),  # exact McNemar; null unless both are 0 or 1 on every item
    ]
)

PARETO = pa.schema(
    [
        *POINT,
        *_interval("domain_score"),
        *_interval("general_score"),
        _required("on_front", pa.bool_()),  # of the point estimates
        _required("dominated", pa.bool_()),  # another point is shown to have more of both, all pairs judged at once
        pa.field("dominated_by", pa.string()),  # the surest of those; null where there is none
        pa.field("dominated_by_rate", pa.float64()),  # null too where that is the base
    ]
)

# Area that a method's rates dominate, in domain score x general score, above a reference point.
HYPERVOLUME = pa.schema(
    [
        _required("model", pa.string()),
        _required("domain", pa.string()),
        _required("method", pa.string()),
        _required("recipe", pa.string()),
        _required("rates", pa.int32()),
        _required("reference_domain", pa.float64()),
        _required("reference_general", pa.float64()),
        *_interval("hypervolume"),
        _required("p_best", pa.float64()),  # share of replicates in which no other method has more
    ]
)

# Methods compared otherwise than at one learning rate; a method has no row where its rates do not reach.
VIEWS = pa.schema(
    [
        _required("model", pa.string()),
        _required("domain", pa.string()),
        _required("view", pa.string()),  # bounded_loss, matched_gain, matched_norm or matched_kl
        _required("at", pa.float64()),  # the bound on the loss, the gain, the norm or the divergence in common
        _required("method", pa.string()),
        _required("recipe", pa.string()),
        pa.field("learning_rate", pa.float64()),  # null where it lies between two of the study's
        *_interval("domain_change"),
        *_interval("general_change"),
    ]
)

# Intervals here hold for all points at once, so that they are right of a point that was chosen by the same data.
RECOMMENDATION = pa.schema(
    [
        _required("model", pa.string()),
        _required("domain", pa.string()),
        _required("bound", pa.float64()),  # most general loss, as a share: 0.01 is one point
        _required("tolerance", pa.float64()),  # gains that differ by no more are as good as equal
        _required("verdict", pa.string()),  # a word of `verdicts`
        pa.field("method", pa.string()),  # what is offered, or for want of evidence the best estimate; null without one
        pa.field("learning_rate", pa.float64()),
        *_interval("domain_change", nullable=True),
        *_interval("general_change", nullable=True),
        pa.field("gain_at_least", pa.float64()),  # lower bounds, for all points that may be within the bound at once
        pa.field("general_at_least", pa.float64()),
        pa.field(
            "regret", pa.float64()
        ),  # it gains at most so much less than the best within the bound; null if unsafe
        pa.field("rival", pa.string()),  # that decides the regret
        pa.field("rival_rate", pa.float64()),
        *_interval("lead", nullable=True),  # domain score over the rival's; an interval of its own
        pa.field("equivalent", pa.string()),  # other safe points within the tolerance, in words; null without one
        pa.field("assumed_sd", pa.float64()),  # between trainings, where it is not measured at some rival's rate
        pa.field("needed_items", pa.int32()),  # of the domain, for a recommendation; null where none is within reach
        pa.field("needed_general", pa.float64()),  # factor on the items of each general benchmark
        pa.field("needed_seeds", pa.int32()),  # of each run that may be within the bound
        pa.field("needs", pa.string()),  # in words, with the cost
        _required("reason", pa.string()),
        pa.field("caveat", pa.string()),  # on the intervals of this model and domain, whatever the bound
    ]
)

# Lower bounds hold for all points that may be within the bound at once; null for one that is shown to lose more.
STANDING = pa.schema(
    [
        *POINT,
        _required("bound", pa.float64()),  # most general loss, as a share: 0.01 is one point
        _required("standing", pa.string()),  # a word of `standing`
        pa.field("gain_at_least", pa.float64()),
        pa.field("general_at_least", pa.float64()),
    ]
)

# Items of general benchmarks against the training data of each domain; a gain on an item that was trained on is none.
LEAKAGE = pa.schema(
    [
        _required("domain", pa.string()),
        _required("benchmark", pa.string()),
        _required("item", pa.string()),
        _required("compared", pa.bool_()),  # long enough to tell
        pa.field("example", pa.string()),  # the first training example that shares words; null where none does
        pa.field("words", pa.string()),  # in a row, that both have
    ]
)

HYPOTHESES = pa.schema(
    [
        _required("model", pa.string()),
        _required("domain", pa.string()),
        _required("hypothesis", pa.string()),
        pa.field("method", pa.string()),  # that it is about; null where the study has none of its recipe
        pa.field("against", pa.string()),  # likewise; null too where it is about one method
        _required("statement", pa.string()),
        _required("verdict", pa.string()),  # supported, contradicted or open
        *_interval("estimate", nullable=True),
        _required("evidence", pa.string()),
    ]
)

AGAINST_PAPER = pa.schema(
    [
        *POINT,
        _required("side", pa.string()),  # domain or general
        *_interval("ours"),
        _required("published", pa.float64()),
        _required("difference", pa.float64()),
        _required("source", pa.string()),
    ]
)

TRAJECTORY = pa.schema(
    [
        *POINT,
        _required("fraction", pa.float64()),  # of the training that is done; 0 is the base, 1 the run
        _required("step", pa.int32()),
        *(f for name in ("domain", "general") for f in _interval(f"{name}_score") + _interval(f"{name}_change")),
        *_interval("domain_code_length", bounded=False),
        *_interval("domain_code_length_change", bounded=False),
        *_interval("kl", nullable=True),  # to the base, nats per token of its own text; null without base_text
        pa.field("delta_norm", pa.float64()),
    ]
)


def write(path: Path, frame: pd.DataFrame, schema: pa.Schema) -> None:
    """Writes a frame in its schema.

    Raises:
        ValueError: a column is missing or unknown, a required value is null, or a number is not finite.
    """
    if set(frame.columns) != set(schema.names):
        raise ValueError(
            f"{path.name}: columns differ from the schema: {sorted(set(frame.columns) ^ set(schema.names))}"
        )
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    for field in schema:
        column = table[field.name]
        if not field.nullable and column.null_count:
            raise ValueError(f"{path.name}: {field.name} is missing in {column.null_count} rows; no number is made up")
        if pa.types.is_floating(field.type) and pc.any(pc.is_inf(column)).as_py():
            raise ValueError(f"{path.name}: {field.name} is infinite somewhere; no table holds that")
    table = table.replace_schema_metadata({"tradeoff_table": path.stem, "tradeoff_schema_version": VERSION})
    write_parquet(path, table)


def read(path: Path) -> pd.DataFrame:
    """Reads a table with types that keep a null integer an integer; see `read_parquet`."""
    return read_parquet(path).to_pandas(types_mapper=_nullable.get)


_nullable = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


# Theory: one run, or the base, after a share of its training.
_STATE = [
    _required("run_id", pa.string()),
    _required("model", pa.string()),
    _required("domain", pa.string()),  # the base has rows on every domain
    _required("method", pa.string()),
    _required("recipe", pa.string()),
    pa.field("learning_rate", pa.float64()),  # null for the base
    pa.field("seed", pa.int32()),  # null for the base
    _required("fraction", pa.float64()),  # of the training that is done; 0 is the base, 1 the run
]

CODE_LENGTH_TABLE = pa.schema(
    [
        *_STATE,
        _required("side", pa.string()),  # domain or general
        _required("benchmark", pa.string()),
        *_interval("code_length"),  # nats per token
        *_interval("bits_per_token"),
        *_interval("bits_per_byte"),
        *_interval("change"),  # dL: against the base on the same items, nats per token
        _required("items", pa.int32()),
        _required("tokens", pa.int64()),
        _required("bytes", pa.int64()),  # UTF-8
    ]
)

# The paper's claims on worlds that can be solved exactly; lengths are nats per sequence.
TILTING = pa.schema(
    [
        _required("claim", pa.string()),  # one step, theorem 1, theorem 2, leakage or equal gain
        _required("world", pa.string()),
        _required("general", pa.string()),  # whose text the general data are: the base's own, or other
        _required("method", pa.string()),  # what a token counts: sft, talr, dft or mask
        _required("reading", pa.string()),  # of the claim, where it can be read in several ways
        _required("leakage", pa.string()),  # strength, share or pooled
        pa.field("leak", pa.float64()),  # 0 to 1; null where it is what is sought
        pa.field("hard_tokens", pa.int32()),
        pa.field("step", pa.float64()),  # lambda; null where it is what is sought
        pa.field("steps", pa.float64()),  # their number, the last one a part; null where the gain is never met
        pa.field("gain", pa.float64()),  # D*: -dL(domain)
        pa.field("cost", pa.float64()),  # dL(general); null where the gain is never met
        pa.field("cost_stderr", pa.float64()),  # over draws
        pa.field("draws", pa.int32()),
        pa.field("change", pa.float64()),  # dL of one step on the side that `reading` names
        pa.field("hoeffding", pa.float64()),  # upper bound of the change, or of the cost
        pa.field("bennett", pa.float64()),  # likewise
        pa.field("second_order", pa.float64()),  # no bound
        pa.field("budget", pa.float64()),  # most dL(general)
        pa.field("safe", pa.float64()),  # largest step or leak within it; null where none exceeds it
    ]
)

TOKEN_DIFFICULTY = pa.schema(
    [
        *_STATE,
        _required("kind", pa.string()),  # all, number, unit, format or word
        _required("tokens", pa.int64()),
        *(_required(f"p_{q}", pa.float64()) for q in ("05", "25", "50", "75", "95")),  # quantiles of p
        *_interval("share_above_0.2"),
        *_interval("share_above_0.5"),
        _required("share_hard", pa.float64()),  # of all tokens of the domain: of this kind, with p of at most 0.2
    ]
)

# Where a method puts its weight under a state's probabilities; shares are of all tokens, and of all weight.
TOKEN_WEIGHTS = pa.schema(
    [
        *_STATE,
        _required("weighing", pa.string()),  # the method: any under the base's probabilities, a run's own under its
        _required("kind", pa.string()),
        _required("share", pa.float64()),
        _required("share_hard", pa.float64()),  # of the kind, with p of at most 0.2
        _required("weight", pa.float64()),
        _required("weight_hard", pa.float64()),
    ]
)

HARD_TOKENS = pa.schema(
    [
        *_STATE,
        _required("rank", pa.int32()),  # 1 is the hardest for the base
        _required("item", pa.string()),
        _required("position", pa.int32()),  # among the scored tokens of the item
        _required("context", pa.string()),
        _required("token", pa.string()),
        _required("kind", pa.string()),
        _required("base_p", pa.float64()),
        _required("p", pa.float64()),
    ]
)

# Rank correlation, over runs, of what theory predicts with what was measured.
PREDICTION = pa.schema(
    [
        _required("model", pa.string()),
        _required("domain", pa.string()),
        _required("prediction", pa.string()),
        _required("outcome", pa.string()),  # general_code_length or general_score: a cost, so that more is worse
        _required("control", pa.string()),  # none, or delta_norm: the partial correlation at like distance
        *_interval("rho", nullable=True),  # null where one of both does not vary
        pa.field("p_value", pa.float64()),  # of a permutation test; null as rho
        _required("runs", pa.int32()),
    ]
)
