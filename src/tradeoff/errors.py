"""A user's mistake or a bad day, told in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout


class UserError(ValueError):
    """Something that the person at the keyboard can put right; the message says what, where and how."""


def one_line(text: object, limit: int = 200) -> str:
    """A text on one line, cut to a length."""
    return re.sub(r"\s+", " ", str(text))[:limit]


def command(main: Callable[[], None]) -> None:
    """Runs a command line's `main`; a `UserError` or a full disk ends in one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        print(one_line(error, 1000), file=sys.stderr)
        sys.exit(1)


@contextmanager
def logged(log: str) -> Iterator[None]:
    """Runs a Snakemake script's body with its output in a log; a `UserError` is one line there and on stderr."""
    with open(log, "w", encoding="utf-8") as file, redirect_stdout(file):
        try:
            yield
        except UserError as error:
            line = one_line(error, 1000)
            print(line)
            print(line, file=sys.stderr)
            sys.exit(1)
