"""One page that holds everything: it loads nothing, and is the same bytes for the same sections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import vl_convert as vlc
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from tradeoff.provenance import digest
from tradeoff.report.figures import Choice, Figure
from tradeoff.report.marks import Look
from tradeoff.report.results import span_text

SHARED = 3  # rows; data of more are written once, however many charts draw them


EMPTY = Markup("")


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        html: What it says, ready to be written; made by `render`, which escapes.
        figures: Shown below that.
        anchor: Its address on the page; the title's, where it is empty.
    """

    title: str
    html: Markup = EMPTY
    figures: tuple[Figure, ...] = ()
    anchor: str = ""

    @property
    def address(self) -> str:
        """For links."""
        return self.anchor or "-".join(self.title.lower().split())


def page(
    title: str, lead: str, sections: Sequence[Section], choices: Sequence[Choice] = (), looks: Sequence[Look] = ()
) -> str:
    """The page as HTML.

    Args:
        title: Of the page.
        lead: A sentence below it.
        sections: In their order.
        choices: Selects that hold for the whole page; parts with `data-<param>` show where it has their value.
        looks: The methods' marks, for the key.
    """
    data: dict[str, list[Any]] = {}
    charts = {
        f"{figure.name}-{number}": _share(spec, data)
        for section in sections
        for figure in section.figures
        for number, spec in enumerate(figure.shown)
    }
    return str(
        render(
            "page",
            title=title,
            lead=lead,
            sections=sections,
            choices=choices,
            looks=looks,
            charts=_json(charts),
            data=_json(data),
            bundle=Markup(_bundle()),
        )
    )


def render(template: str, **values: Any) -> Markup:
    """A template of `templates/` with all values escaped."""
    return Markup(_environment().get_template(f"{template}.html.j2").render(**values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tradeoff.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"span": span_text, "pretty": _pretty}
    return environment


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and vegaEmbed, as vl-convert brings them."""
    script = vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    assert "</script" not in script.lower()
    return script


def _json(value: Any) -> Markup:
    """JSON that no text in it can end: every `<` is escaped."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def _share(spec: Any, data: dict[str, list[Any]]) -> Any:
    """Moves rows out of a spec, where the page's script looks for them by their digest."""
    if isinstance(spec, list):
        return [_share(part, data) for part in spec]
    if not isinstance(spec, dict):
        return spec
    shared = {}
    for name, part in spec.items():
        if name == "datasets" and isinstance(part, dict):
            shared[name] = {key: _moved(rows, data) for key, rows in part.items()}
        elif name == "values" and isinstance(part, list) and len(part) > SHARED and isinstance(part[0], dict):
            shared[name] = _moved(part, data)
        else:
            shared[name] = _share(part, data)
    return shared


def _moved(rows: list[Any], data: dict[str, list[Any]]) -> Any:
    key = digest(rows)
    data[key] = rows
    return {"shared": key}
