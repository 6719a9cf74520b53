"""Shopping Queries (ESCI): does a product answer a search? The label alone as response.

Source: Reddy et al. 2022, arXiv 2206.06588, https://github.com/amazon-science/esci-data; US locale. The labels are
natural: about 65 % Exact, 22 % Substitute, 10 % Irrelevant, 3 % Complement, so the domain score is balanced accuracy.

The split is our own, by query: a query belongs to the test split when a hash of its words says so (one in four),
whatever its id, so that no query is in both. It is not the split of the authors' tasks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tradeoff.domains import Domain, Example, Outcome, Size, Split
from tradeoff.domains._esci import CHOICE, EXAMPLES, LABELS, PRODUCTS, Pair, clean, drawn
from tradeoff.domains._scorers import CLASS_METRICS


@dataclass(frozen=True)
class Esci(Domain):
    """Four-way relevance of a real product for a real search.

    Attributes:
        products: The examples come without their products, as the authors publish them, and are joined here.
        longest_product: Characters of the product's text that a prompt keeps: title, brand, color, then bullet points.
    """

    kind = "esci"
    size = Size(train=84_000, test=28_000, prompt=230, response=3)
    version = "1.1"
    metrics = CLASS_METRICS
    max_new_tokens = 8
    products: bool = False
    longest_product: Annotated[int, Field(ge=20)] = 600

    # Not annotated, so no options.
    _asks = f"Answer with one word: {', '.join(LABELS[:-1])} or {LABELS[-1]}."
    _response = "{}"

    def data(self, split: Split) -> tuple[str, ...]:
        """See `Domain.data`."""
        return (EXAMPLES, PRODUCTS) if self.products else (EXAMPLES,)

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`. Label-only and chain of thought draw the same pairs; an id ends with ESCI's own."""
        pairs = drawn(split, count, seed, files[EXAMPLES], files[PRODUCTS] if self.products else None)
        return [self._example(split, pair) for pair in pairs]

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`."""
        label = self._read(response)
        right = float(label == answer["label"])
        return Outcome({metric.name: right for metric in self.metrics}, invalid=label is None, label=label)

    def _read(self, response: str) -> str | None:
        """The first label on the last `Answer:` line, or else in the response."""
        return CHOICE.default(response)

    def _example(self, split: Split, pair: Pair) -> Example:
        question = f"Query: {clean(pair.query)}\n{_product_text(pair, self.longest_product)}"
        return Example(
            id=f"{split}-{pair.example_id}",
            messages=({"role": "user", "content": f"{question}\n\n{_RULE}\n{self._asks}"},),
            response=self._response.format(pair.label),
            answer={"label": pair.label},
        )


def _product_text(pair: Pair, longest: int) -> str:
    fields = {"Product": pair.title, "Brand": pair.brand, "Color": pair.color, "Details": pair.bullet_point}
    text = "\n".join(f"{name}: {value}" for name, raw in fields.items() if (value := clean(raw)))
    if len(text) <= longest:
        return text
    room = longest - len(_CUT)
    # One character more shows whether a word ends there.
    return _LAST_WORD.sub("", text[: room + 1])[:room] + _CUT


_RULE = """Does the product answer the search?
Exact: it is what the query asks for, in every respect.
Substitute: it misses some of what the query asks for, and could be used instead.
Complement: it is something else, to be used together with what the query asks for.
Irrelevant: none of these."""

_CUT = " ..."
_LAST_WORD = re.compile(r"\s+\S*\Z")
