"""A user's mistake or a bad day, told in one line."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout


class UserError(ValueError):
    """Something that the person at the keyboard can put right; the message says what, where and how."""


class Interrupted(Exception):
    """The process was asked to stop and can go on when it is run again; the message says from where."""


AGAIN = 75  # exit status that asks for another run (EX_TEMPFAIL of sysexits.h)


def one_line(text: object, limit: int = 200) -> str:
    """A text on one line, cut to a length."""
    return re.sub(r"\s+", " ", str(text))[:limit]


def shown(value: object) -> str:
    """A value as it may stand in a line, cut to a length that leaves room for the remedy."""
    return one_line(repr(value), 60)


def command(main: Callable[[], None]) -> None:
    """Runs a command line's `main`.

    A `UserError`, a file that is gone, too little memory and a disk that is full or cannot be written end in one line
    on stderr and exit status 1, `Interrupted` in one line and `AGAIN`.
    """
    try:
        main()
    except Interrupted as error:
        print(one_line(error, 1000), file=sys.stderr)
        sys.exit(AGAIN)
    except Exception as error:
        if (line := _told(error)) is None:
            raise
        print(line, file=sys.stderr)
        sys.exit(1)


def _told(error: Exception) -> str | None:
    """The line for a person's mistake or a bad day, or None; safetensors tells the error number in its text alone."""
    if isinstance(error, UserError):
        return one_line(error, 1000)
    if isinstance(error, FileNotFoundError):
        return f"{one_line(error.filename or error)}: gone, perhaps since another job found it damaged; run again"
    if isinstance(error, MemoryError):
        return f"too little memory{': ' if str(error) else ''}{one_line(error)}; give the job more and run again"
    number = getattr(error, "errno", None)
    told = re.search(r"os error (\d+)", str(error))
    code = number if isinstance(number, int) else int(told[1]) if told else None
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{one_line(error)}: free or open the folder and run again; nothing is lost"
    return None


@contextmanager
def logged(log: str) -> Iterator[None]:
    """Runs a Snakemake script's body with its output in a log; what `command` tells is one line there and on stderr."""
    try:
        with open(log, "w", encoding="utf-8") as file, redirect_stdout(file):
            try:
                yield
            except Exception as error:
                print(_told(error) or one_line(error))
                raise
    except Exception as error:  # the log's own among them: on a full disk it cannot be closed
        if (line := _told(error)) is None:
            raise
        print(line, file=sys.stderr)
        sys.exit(1)
