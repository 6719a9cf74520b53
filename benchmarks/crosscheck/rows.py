"""A row of the cross-checks' table: what was compared, how much of it differs, and why. Checks print theirs as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        check: What is checked, such as "merged LoRA".
        against: The other program, with its version.
        what: The quantity.
        compared: How many numbers, items or answers.
        differ: How many of them are further apart than `tolerance`.
        tolerance: Largest difference that counts as none.
        largest: The largest difference.
        reasons: How many of those that differ have each cause; `unexplained` fails the command.
    """

    check: str
    against: str
    what: str
    compared: int
    differ: int
    tolerance: float = 0.0
    largest: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def unexplained(self) -> int:
        return self.differ - sum(n for why, n in self.reasons.items() if why != UNEXPLAINED)


def of_numbers(
    check: str, against: str, what: str, differences: Sequence[float], tolerance: float, why: str | None = None
) -> Row:
    """A row of numbers' absolute or relative differences; `why` explains all that are beyond the tolerance."""
    beyond = sum(not d <= tolerance for d in differences)
    reasons = {why: beyond} if why and beyond else {}
    return Row(check, against, what, len(differences), beyond, tolerance, max(differences, default=0.0), reasons)


def tell(rows: Sequence[Row], **details: object) -> None:
    """Prints rows and details as the last line of a check."""
    print(json.dumps({"rows": [asdict(row) for row in rows], **details}))
