"""A user's mistake or a bad day, told in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Something that the person at the keyboard can put right; the message says what, where and how."""


def command(main: Callable[[], None]) -> None:
    """Runs a command line's `main`; a `UserError` or a full disk ends in one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        print(re.sub(r"\s+", " ", str(error)), file=sys.stderr)
        sys.exit(1)
