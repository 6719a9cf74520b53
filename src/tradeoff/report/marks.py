"""How a method looks in every figure: one colour and one shape, told apart by colour-blind readers and in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# At least 3:1 against white, the least that a mark needs (WCAG 1.4.11); the first six, as many as the recipes of the
# paper, are as far apart as a search found for normal, protan and deutan eyes.
COLOURS = ("#1B5E97", "#B34A00", "#1A9A78", "#E052B8", "#54450F", "#2A1A8C", "#B3123F", "#6B6B6B", "#0E7F96")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")
INK, MUTED, RULE, LIMIT = "#1c1c1c", "#545454", "#d9d9d9", "#7a1f1f"
STAR = "M0,-1L.25,-.35L.95,-.31L.4,.13L.59,.81L0,.42L-.59,.81L-.4,.13L-.95,-.31L-.25,-.35Z"

# Outlines in a square from -1 to 1, for the key outside of charts.
OUTLINES = {
    "circle": "M-.8,0A.8,.8,0,1,0,.8,0A.8,.8,0,1,0,-.8,0Z",
    "square": "M-.75,-.75H.75V.75H-.75Z",
    "triangle-up": "M0,-.85L.9,.75H-.9Z",
    "triangle-down": "M0,.85L.9,-.75H-.9Z",
    "triangle-right": "M.85,0L-.75,.9V-.9Z",
    "triangle-left": "M-.85,0L.75,.9V-.9Z",
    "diamond": "M0,-1L.8,0L0,1L-.8,0Z",
    "cross": "M-.3,-.9H.3V-.3H.9V.3H.3V.9H-.3V.3H-.9V-.3H-.3Z",
}


@dataclass(frozen=True)
class Look:
    """A method's mark."""

    method: str
    colour: str
    shape: str

    @property
    def outline(self) -> str:
        """The shape as an SVG path in a square from -1 to 1."""
        return OUTLINES[self.shape]


def looks(methods: Sequence[str]) -> list[Look]:
    """Marks in the study's order; 9 colours and 8 shapes make 72 different pairs."""
    return [Look(name, COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]) for i, name in enumerate(methods)]
