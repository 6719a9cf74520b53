"""Shop-mini: does a product answer a search? One word, in the manner of Amazon's Shopping Queries (ESCI).

Source: the labels of ESCI (Reddy et al. 2022, arXiv 2206.06588) on a generated catalogue. The rule:

| label      | the product                                                                                    |
|------------|------------------------------------------------------------------------------------------------|
| Exact      | has the type of the query, and every attribute in the query holds                               |
| Substitute | has the type of the query but misses an attribute, or is another type of the same category      |
| Complement | is of a category that goes with the query's category (a lid for a pan, and a pan for a lid)     |
| Irrelevant | anything else                                                                                   |

A pair of query and product belongs to the test split when its hash says so (one in four).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from tradeoff.domains import P_RIGHT, Domain, Example, Metric, Outcome, Size, Split
from tradeoff.domains._scorers import Choice
from tradeoff.draws import generated

Label = Literal["Exact", "Substitute", "Complement", "Irrelevant"]
LABELS: tuple[Label, ...] = get_args(Label)
_CHOICE = Choice(LABELS, ignore_case=True)


@dataclass(frozen=True)
class ShopMini(Domain):
    """Four-way relevance of a product for a search, the label alone as response.

    Attributes:
        metric: The domain score. `p_right` is the probability of the right label among the four, without sampling or
            reading an answer: its standard error is smaller, and it moves where no answer changes.
        max_new_tokens: Generation limit. A label has at most 3 tokens; a model that is not tuned writes a sentence.
    """

    kind = "shop_mini"
    size = Size(train=5_000, test=1_000, prompt=60, response=3)
    version = "1.1"
    metric: Literal["balanced_accuracy", "p_right"] = "balanced_accuracy"
    max_new_tokens: Annotated[int, Field(ge=1)] = 8

    @property
    def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        """See `Domain`."""
        of_answers = (Metric("balanced_accuracy", balanced_by="label"), Metric("accuracy"))
        return (Metric(P_RIGHT), *of_answers) if self.metric == P_RIGHT else of_answers

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Domain`."""
        return LABELS if self.metric == P_RIGHT else ()

    def examples(self, split: Split, count: int | None, seed: int, files: Mapping[str, Path]) -> list[Example]:
        """See `Domain.examples`."""
        return generated(self.kind, count, lambda index, seen: _example(split, index, seed, seen))

    def score(self, response: str, answer: Mapping[str, Any]) -> Outcome:
        """See `Domain.score`. The answer is the first of the four labels in the response."""
        found = next(iter(_CHOICE.named(response)), None)
        right = float(found == answer["label"])
        return Outcome({"balanced_accuracy": right, "accuracy": right}, invalid=found is None)


@dataclass(frozen=True)
class _Category:
    """Product types that stand in for one another, and the attributes that each of them has besides a brand."""

    types: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Item:
    """A query, with some attributes of its type, or a product, with all of them."""

    category: str
    type: str
    attributes: Mapping[str, str]


_BRANDS = ("Norvik", "Altara", "Belmo", "Kestrel", "Ortan", "Quillo")
_COLORS = ("black", "white", "red", "blue", "green", "grey")
_CLOTHES_SIZES = ("size S", "size M", "size L", "size XL")

_CATALOGUE = {
    "shoes": _Category(
        types=("running shoes", "walking shoes", "hiking boots"),
        attributes={
            "color": _COLORS,
            "size": ("size 38", "size 40", "size 42", "size 44"),
            "material": ("leather", "mesh", "suede"),
        },
    ),
    "socks": _Category(
        types=("running socks", "hiking socks"),
        attributes={"color": _COLORS, "size": _CLOTHES_SIZES, "material": ("cotton", "wool", "bamboo")},
    ),
    "jackets": _Category(
        types=("rain jacket", "fleece jacket", "down jacket"),
        attributes={"color": _COLORS, "size": _CLOTHES_SIZES, "fit": ("hooded", "slim fit", "long")},
    ),
    "hats": _Category(
        types=("beanie", "baseball cap", "sun hat"),
        attributes={"color": _COLORS, "size": _CLOTHES_SIZES, "material": ("cotton", "wool", "linen")},
    ),
    "pans": _Category(
        types=("frying pan", "wok", "saucepan"),
        attributes={
            "size": ("20 cm", "24 cm", "28 cm"),
            "material": ("cast iron", "steel", "ceramic", "copper"),
            "handle": ("wooden handle", "steel handle"),
        },
    ),
    "pan lids": _Category(
        types=("pan lid", "splatter screen"),
        attributes={"size": ("20 cm", "24 cm", "28 cm"), "material": ("glass", "steel", "silicone")},
    ),
    "utensils": _Category(
        types=("spatula", "ladle", "cooking tongs"),
        attributes={"color": _COLORS, "material": ("wooden", "steel", "silicone")},
    ),
    "kettles": _Category(
        types=("electric kettle", "stovetop kettle", "teapot"),
        attributes={"color": _COLORS, "volume": ("1 liter", "1.5 liter", "2 liter"), "material": ("glass", "steel")},
    ),
    "teas": _Category(
        types=("green tea", "black tea", "herbal tea"),
        attributes={
            "form": ("loose leaf", "tea bags"),
            "pack": ("100 g", "250 g", "500 g"),
            "grown": ("organic", "fair trade"),
        },
    ),
    "computers": _Category(
        types=("laptop", "tablet"),
        attributes={
            "color": ("black", "silver", "white"),
            "storage": ("128 GB", "256 GB", "512 GB"),
            "screen": ("11 inch", "13 inch"),
        },
    ),
    "computer bags": _Category(
        types=("laptop sleeve", "laptop backpack", "briefcase"),
        attributes={"color": _COLORS, "material": ("leather", "canvas", "nylon"), "screen": ("11 inch", "13 inch")},
    ),
    "headphones": _Category(
        types=("headphones", "earbuds", "headset"),
        attributes={"color": _COLORS, "link": ("wireless", "wired"), "noise": ("noise cancelling", "open back")},
    ),
    "shelters": _Category(
        types=("tent", "hammock", "camping tarp"),
        attributes={
            "color": _COLORS,
            "people": ("1 person", "2 person", "4 person"),
            "weight": ("ultralight", "heavy"),
        },
    ),
    "bedding": _Category(
        types=("sleeping bag", "camping quilt"),
        attributes={"color": _COLORS, "season": ("summer", "winter", "3 season"), "fill": ("down", "synthetic")},
    ),
    "lamps": _Category(
        types=("headlamp", "camping lantern", "flashlight"),
        attributes={
            "color": _COLORS,
            "light": ("200 lumen", "400 lumen", "800 lumen"),
            "power": ("rechargeable", "solar"),
        },
    ),
    "dog leads": _Category(
        types=("dog leash", "dog harness"),
        attributes={"color": _COLORS, "size": _CLOTHES_SIZES, "material": ("leather", "nylon", "rope")},
    ),
    "dog coats": _Category(
        types=("dog coat", "dog sweater"),
        attributes={"color": _COLORS, "size": _CLOTHES_SIZES, "material": ("fleece", "wool", "waterproof")},
    ),
}

_GO_TOGETHER = frozenset(
    map(
        frozenset,
        (
            ("shoes", "socks"),
            ("jackets", "hats"),
            ("pans", "pan lids"),
            ("pans", "utensils"),
            ("kettles", "teas"),
            ("computers", "computer bags"),
            ("computers", "headphones"),
            ("shelters", "bedding"),
            ("shelters", "lamps"),
            ("dog leads", "dog coats"),
        ),
    )
)

# Unequal like ESCI's (0.65, 0.22, 0.03, 0.10), less extreme so that a small draw has some of each.
_SHARES: dict[Label, float] = {"Exact": 0.42, "Substitute": 0.26, "Complement": 0.14, "Irrelevant": 0.18}

_ASKS = f"Is the product {', '.join(LABELS[:-1])} or {LABELS[-1]}? Answer with one word."

_TRIES = 1000


def _example(split: Split, index: int, seed: int, seen: set[str]) -> Example:
    """Draws the example of that index; `seen` holds the questions before it and gets this one."""
    rng = random.Random(f"{seed}-{split}-{index}")
    (label,) = rng.choices(LABELS, weights=[_SHARES[name] for name in LABELS])
    for _ in range(_TRIES):
        query = _query(rng)
        product = _product(label, query, rng)
        assert _label(query, product) == label
        question = f"Query: {_query_text(query, rng)}\nProduct: {_product_text(product)}"
        if question in seen or _split(query, product) != split:
            continue
        seen.add(question)
        return Example(
            id=f"{split}-{index:05d}",
            messages=({"role": "user", "content": f"{question}\n{_ASKS}"},),
            response=label,
            answer={"label": label},
        )
    raise ValueError(f"{ShopMini.kind} has no new question; ask for at most {index} examples")


def _label(query: _Item, product: _Item) -> Label:
    """The rule of the module's docstring."""
    if product.type == query.type:
        holds = all(product.attributes[name] == value for name, value in query.attributes.items())
        return "Exact" if holds else "Substitute"
    if product.category == query.category:
        return "Substitute"
    return "Complement" if frozenset((query.category, product.category)) in _GO_TOGETHER else "Irrelevant"


def _query(rng: random.Random) -> _Item:
    category = rng.choice(tuple(_CATALOGUE))
    every = _attributes(category, rng)
    names = rng.sample(tuple(every), rng.choice((1, 2, 2, 3)))
    return _Item(category, rng.choice(_CATALOGUE[category].types), {name: every[name] for name in names})


def _product(label: Label, query: _Item, rng: random.Random) -> _Item:
    """A product that has that label for the query."""
    if label == "Exact" or (label == "Substitute" and rng.random() < 0.5):
        attributes = {**_attributes(query.category, rng), **query.attributes}
        if label == "Substitute":
            missed = rng.choice(tuple(query.attributes))
            attributes[missed] = rng.choice([v for v in _values(query.category, missed) if v != attributes[missed]])
        return _Item(query.category, query.type, attributes)
    if label == "Substitute":
        category = query.category
    else:
        category = rng.choice(
            [
                other
                for other in _CATALOGUE
                if other != query.category
                and (frozenset((query.category, other)) in _GO_TOGETHER) == (label == "Complement")
            ]
        )
    types = [t for t in _CATALOGUE[category].types if t != query.type]
    return _Item(category, rng.choice(types), _attributes(category, rng))


def _attributes(category: str, rng: random.Random) -> dict[str, str]:
    """A value for the brand and for every attribute of the category."""
    return {name: rng.choice(_values(category, name)) for name in ("brand", *_CATALOGUE[category].attributes)}


def _values(category: str, name: str) -> tuple[str, ...]:
    return _BRANDS if name == "brand" else _CATALOGUE[category].attributes[name]


def _query_text(query: _Item, rng: random.Random) -> str:
    words = [*query.attributes.values()]
    words.insert(rng.choice((0, len(words))), query.type)
    return " ".join(words).lower()


def _product_text(product: _Item) -> str:
    brand, *rest = product.attributes.values()
    return f"{brand} {product.type.title()}, {', '.join(rest)}"


def _split(query: _Item, product: _Item) -> Split:
    """The split this pair belongs to in every draw, however it is worded."""
    canonical = json.dumps([[item.type, sorted(item.attributes.items())] for item in (query, product)])
    return "test" if hashlib.sha256(canonical.encode()).digest()[0] % 4 == 0 else "train"
