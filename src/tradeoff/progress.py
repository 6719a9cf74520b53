"""How far a running job is, in a line every few seconds."""

from __future__ import annotations

import time

INTERVAL_S = 5.0


class Progress:
    """Prints `label: done/total, note`, at most every few seconds and at the end."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self._next = time.monotonic() + INTERVAL_S

    def advance(self, by: int = 1, note: str = "", to: int | None = None) -> None:
        """Counts `by` more as done, or `to` in all."""
        self.done = self.done + by if to is None else to
        now = time.monotonic()
        if now >= self._next or self.done == self.total:
            self._next = now + INTERVAL_S
            print(f"{self.label}: {self.done}/{self.total}{', ' if note else ''}{note}", flush=True)
