"""ESCI's files: pairs of query and product with a label, and the products' texts.

The files have millions of rows, so texts are read for the drawn pairs alone.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tradeoff.domains import Split
from tradeoff.domains._scorers import Choice
from tradeoff.draws import draw
from tradeoff.errors import one_line

# A study is read by every job, so this module must import without pandas and pyarrow.
if TYPE_CHECKING:
    import pandas as pd

Label = Literal["Exact", "Substitute", "Complement", "Irrelevant"]
LABELS: tuple[Label, ...] = get_args(Label)
CHOICE = Choice(LABELS, ignore_case=True)
EXAMPLES = "esci_examples"
PRODUCTS = "esci_products"


@dataclass(frozen=True)
class Pair:
    """A query, a product's texts, None where it has none, and how they are related."""

    example_id: int
    query: str
    label: Label
    title: str | None
    brand: str | None
    color: str | None
    bullet_point: str | None


def drawn(split: Split, count: int | None, seed: int, examples: Path, products: Path | None) -> list[Pair]:
    """Pairs of the US locale, in the draw's order.

    Args:
        split: Which of the two.
        count: How many; all if it is None.
        seed: Of the draw.
        examples: Parquet of `example_id`, `query`, `product_id`, `product_locale` and `esci_label`.
        products: Parquet of `product_id`, `product_locale` and the texts; without it, the examples have the texts.

    Raises:
        ValueError: a file is not what it should be, or there are not enough pairs.
    """
    pairs = _pairs(examples)
    pairs = pairs[[_split(query) == split for query in pairs["query"]]]
    places = draw(range(len(pairs)), count, f"esci {split} {seed}", f"{examples}, US locale, {split}")
    pairs = pairs.iloc[places]
    # The same product id stands for other texts in other locales; one locale is left here.
    pairs = _with_texts(pairs, *(("example_id", examples) if products is None else ("product_id", products)))
    columns = ["example_id", "query", "label", *_TEXTS]
    return [Pair(*row) for row in zip(*(_values(pairs[column]) for column in columns), strict=True)]


def _pairs(path: Path) -> pd.DataFrame:
    """Labelled pairs in the order of their ids, however the file is sorted."""
    columns = ["example_id", "query", "product_id", "esci_label"]
    pairs = _read(path, columns)
    if pairs.empty or pairs.isna().any(axis=None):
        lacking = pairs.isna().any(axis=1).sum()
        what = f"{lacking} of its pairs lack a value" if lacking else "has no pair of the US locale"
        raise ValueError(f"{path}: {what}; use the file that the authors publish")
    # Joined on the product's id alone, a pair has a row for each locale that has the id, all but one with a wrong text.
    twice = pairs["example_id"].duplicated(keep=False)
    if twice.any():
        several = pairs["example_id"][twice].nunique()
        print(f"{path}: {several} pairs left out, which have several rows: it was joined across locales")
    pairs = pairs[~twice].sort_values("example_id")
    pairs["label"] = pairs["esci_label"].astype(str).str.strip().str.capitalize().map(_WORDS)
    unknown = pairs[pairs["label"].isna()]
    if not unknown.empty:
        first = unknown.iloc[0]
        raise ValueError(
            f"{path}, example_id {first['example_id']}: unknown esci_label {first['esci_label']!r}; "
            f"it should be one of {', '.join(_WORDS)}"
        )
    return pairs


def _with_texts(pairs: pd.DataFrame, key: str, path: Path) -> pd.DataFrame:
    texts = _read(path, [key, *_TEXTS], only=pairs[key].unique())
    twice = texts[key].duplicated()
    if twice.any():
        raise ValueError(f"{path}: {key} {texts[key][twice].iloc[0]} stands twice in the US locale; remove one")
    texts = texts.set_index(key)
    missing = ~pairs[key].isin(texts.index)
    if missing.any():
        raise ValueError(
            f"{path}: lacks {missing.sum()} of the products that are asked for, such as "
            f"{pairs[key][missing].iloc[0]} in the US locale; use the two files of one release"
        )
    return pairs.join(texts, on=key)


def _read(path: Path, columns: list[str], only: Iterable[Any] | None = None) -> pd.DataFrame:
    """Columns of the rows of the US locale; with `only`, of those whose first column is one of these."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        lacks = [c for c in [*columns, "product_locale"] if c not in pq.read_schema(path).names]
        if lacks:
            raise ValueError(f"{path}: lacks the column {', '.join(lacks)}; use the file that the authors publish")
        wanted = pc.field("product_locale") == "us"
        if only is not None:
            wanted &= pc.field(columns[0]).isin(pa.array(only))
        return pq.read_table(path, columns=columns, filters=wanted).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: cannot be read as Parquet ({one_line(error)}); mend or replace the file") from None


def _values(column: pd.Series[Any]) -> list[Any]:
    """As plain Python values, None where there is none."""
    return column.astype(object).where(column.notna(), None).tolist()


def clean(text: str | None) -> str:
    """A text of the files as a prompt shows it: without HTML, on one line."""
    return " ".join(_TAG.sub(" ", html.unescape(text or "")).split())


def _split(query: str) -> Split:
    """The split that a query belongs to in every draw, by what a prompt asks: spellings of one query stay together."""
    words = unicodedata.normalize("NFKC", clean(query)).casefold()
    return "test" if hashlib.sha256(words.encode()).digest()[0] % 4 == 0 else "train"


_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TEXTS = [f"product_{name}" for name in ("title", "brand", "color", "bullet_point")]

# The authors' letters; other copies have the words.
_WORDS: dict[str, Label] = {**{label[0]: label for label in LABELS}, **{label: label for label in LABELS}}
