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

    A `UserError` and a disk that is full or cannot be written end in one line on stderr and exit status 1,
    `Interrupted` in one line and `AGAIN`.
    """
    try:
        main()
    except UserError as error:
        print(one_line(error, 1000), file=sys.stderr)
        sys.exit(1)
    except Interrupted as error:
        print(one_line(error, 1000), file=sys.stderr)
        sys.exit(AGAIN)
    except Exception as error:
        if _disk_trouble(error):
            print(f"{one_line(error)}: free or open the folder and run again; nothing is lost", file=sys.stderr)
            sys.exit(1)
        raise


def _disk_trouble(error: Exception) -> bool:
    """Whether a disk is full, over its quota, read-only or forbidden; safetensors tells it in its message alone."""
    number = getattr(error, "errno", None)
    told = re.search(r"os error (\d+)", str(error))
    code = number if isinstance(number, int) else int(told[1]) if told else None
    return code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


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
