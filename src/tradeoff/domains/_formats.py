"""Files of a person's own as rows, whatever their format: JSON lines, JSON, CSV, TSV or Parquet, told by the ending.

A row is a mapping from columns to values as JSON has them, with numbers as decimals, so that none is rounded. A cell of
CSV is text, and an empty one is null. A fault is one line that says what, where and how to mend it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tradeoff.domains._scorers import kind_of
from tradeoff.errors import one_line, shown

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
EXAMPLE = '{"prompt": "2 + 2?", "response": "4"}'


class Row(NamedTuple):
    """A row of a file.

    Attributes:
        number: Of the line or, in a format without lines, of the row; the first is 1.
        place: The same in words, such as `line 3`.
        values: By column, or what is wrong with the row.
    """

    number: int
    place: str
    values: dict[str, Any] | ValueError


def is_table(name: str) -> bool:
    """Whether a name has the ending of a format that is read."""
    return Path(name).suffix.lower() in ENDINGS


def files_of(place: str) -> tuple[str, ...]:
    """A file, or in a folder all files of these formats, by name; the place itself where it cannot be looked at."""
    try:
        found = sorted(file for file in os.listdir(place) if is_table(file) and not file.startswith("."))
    except (OSError, ValueError):
        return (place,)
    return tuple(os.path.join(place, file) for file in found) or (place,)


def read(name: str, path: Path, ending: str | None = None) -> list[Row]:
    """The rows of a file, empty lines left out.

    Args:
        name: For messages.
        path: Where it lies.
        ending: Its format, None for the name's ending.

    Raises:
        ValueError: it cannot be read as a whole; a fault of one row is that row's values.
    """
    reader = _READERS.get(ending or Path(name).suffix.lower())
    if reader is None:
        raise ValueError(
            f"{name}: has none of the endings {', '.join(ENDINGS)}; save it in such a format and name it so"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: cannot be read ({error.strerror}); name a file of examples") from None
    try:
        rows = list(reader(content))
    except ValueError as error:
        raise ValueError(f"{name}: {one_line(error, 500)}") from None
    if not rows:
        raise ValueError(f"{name}: is empty; write a row such as {EXAMPLE}")
    return rows


# --- JSON ------------------------------------------------------------------------------------------------------------


def json_value(text: str) -> Any:
    """A JSON value with numbers as decimals.

    Stricter than Python's `json`, which takes NaN and the last of two equal keys.
    """
    return json.loads(
        text, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_number, parse_float=_number
    )


def _json_lines(content: bytes) -> Iterator[Row]:
    content = _without_mark(content)
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield Row(number, f"line {number}", _caught(_object_of_line, line))


def _object_of_line(line: bytes) -> dict[str, Any]:
    try:
        value = json_value(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, character {error.pos + 1}); write one object on one line") from None
    except RecursionError:
        raise ValueError("not JSON that can be read (nested too deep); write one flat object on one line") from None
    return _object(value, "write one object on one line")


def _json(content: bytes) -> Iterator[Row]:
    """A list of objects, or JSON lines under another ending."""
    if not _without_mark(content).lstrip().startswith(b"["):
        yield from _json_lines(content)
        return
    try:
        values = json_value(_text(content))
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON ({error.msg}, column {error.colno}); mend it") from None
    except RecursionError:
        raise ValueError("not JSON that can be read (nested too deep); write a list of flat objects") from None
    for number, value in enumerate(values, start=1):
        yield Row(number, f"row {number}", _caught(_object, value, "write a list of objects"))


def _object(value: Any, remedy: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"should be an object, got {kind_of(value)}; {remedy}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} stands twice; remove one")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; write a number, or text in quotes")


def _number(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ValueError(f"the number {one_line(digits, 40)} is too large; write a smaller one") from None


# --- CSV, TSV and Parquet --------------------------------------------------------------------------------------------


def _csv(content: bytes) -> Iterator[Row]:
    yield from _separated(content, ",", "comma")


def _tsv(content: bytes) -> Iterator[Row]:
    yield from _separated(content, "\t", "tab")


def _separated(content: bytes, mark: str, name: str) -> Iterator[Row]:
    """Rows below a head of columns; a row's place is the line on which it begins."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(_text(content), newline=""), delimiter=mark, strict=True)
    try:
        head = next(reader, [])
        _check_head(head, mark, name)
        line = reader.line_num + 1
        for cells in reader:
            if any(cells):
                yield Row(line, f"line {line}", _caught(_by_column, head, cells, name))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: cannot be read ({error}); put quotes around the cell") from None


def _check_head(head: list[str], mark: str, name: str) -> None:
    other = next((other for other in ",;\t|" if other != mark and other in "".join(head)), None)
    if len(head) == 1 and other:
        raise ValueError(f"line 1: no {name} and several {shown(other)}; save it with a {name} between cells")
    for number, column in enumerate(head, start=1):
        if not column.strip():
            raise ValueError(f"line 1: column {number} has no name; write one into the first line")
        if column in head[: number - 1]:
            raise ValueError(f"line 1: the column {shown(column)} stands twice; remove one")


def _by_column(head: list[str], cells: list[str], mark: str) -> dict[str, Any]:
    if len(cells) != len(head):
        raise ValueError(
            f"has {len(cells)} cells and the head {len(head)}; quote a cell that holds a {mark} or a line break"
        )
    return {column: cell or None for column, cell in zip(head, cells, strict=True)}


def _parquet(content: bytes) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(io.BytesIO(content))
        if len(set(columns.column_names)) < len(columns.column_names):
            raise ValueError("two columns have one name; rename one")
        values = columns.to_pylist()
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise ValueError(f"cannot be read as Parquet ({one_line(error)}); write the file again") from None
    for number, row in enumerate(values, start=1):
        yield Row(number, f"row {number}", _caught(_plain_row, row))


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    return {column: _plain(value) for column, value in row.items()}


def _plain(value: Any) -> Any:
    """A value of Arrow's as JSON has it; one that JSON lacks stays what it is, for a column that no one may use."""
    if isinstance(value, float):
        return Decimal(repr(value)) if value == value else None  # NaN is how pandas writes a null
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return _plain_row(value)
    return value


# --- bytes -----------------------------------------------------------------------------------------------------------


def _caught(read: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any] | ValueError:
    try:
        return read(*arguments)
    except ValueError as error:
        return error


def _without_mark(content: bytes) -> bytes:
    """Without the byte order mark of UTF-8; those of UTF-16 tell that the file is not UTF-8."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("is in UTF-16; save the file as UTF-8")
    return content.removeprefix(b"\xef\xbb\xbf")


def _text(content: bytes) -> str:
    content = _without_mark(content)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        raise ValueError(f"line {line + 1}: byte {column + 1} is not UTF-8; save the file as UTF-8") from None


_READERS: dict[str, Callable[[bytes], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
