"""MedCalc-Bench's own reading of an answer and its own rules (`evaluation/run.py` and `evaluate.py` of ncbi-nlp).

Written anew from what those two files do, faults included: "1,234.5" is read as 234.5, "1,200" as 2 where a score is
asked for (it counts a list), "66.1 mL/min per 1.73 m2" as 2, "31 weeks" as 3 weeks and 1 day, "53.1%" as 0.531. Where
they fail with an error and go on, there is no answer here. Two things differ:

- The extractor looks for a JSON field `"answer"`, which the benchmark's prompts ask for. Ours ask for a last line
  `Answer: <value>` instead, so without such a field what follows the last `Answer:` stands for it.
- The extractor hands an answer of the form `str(...)` to `eval`. Here arithmetic on numbers, comparisons and a few
  functions are worked out, with a limit on length and on size; anything else is no answer.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

Kind = Literal["decimal", "integer", "date", "weeks"]
Value = float | str | list[int]

_DATES = {13, 68}
_WEEKS = {69}
_INTEGERS = {4, 15, 16, 17, 18, 20, 21, 25, 27, 28, 29, 32, 33, 36, 43, 45, 48, 51}
_DECIMALS = {
    *(2, 3, 5, 6, 7, 8, 9, 10, 11, 19, 22, 23, 24, 26, 30, 31, 38, 39, 40, 44, 46, 49),
    *(56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67),
}


def kind_of(calculator: int) -> Kind | None:
    """How the answers of a calculator are read and compared; None if it is none of the 55.

    The rules go by the calculator's number and not by the column "Output Type", which calls the answers of 69 integers
    in v1.0 and dates in MedCalc-Bench Verified.
    """
    kinds: tuple[tuple[Kind, set[int]], ...] = (
        ("date", _DATES),
        ("weeks", _WEEKS),
        ("integer", _INTEGERS),
        ("decimal", _DECIMALS),
    )
    return next((kind for kind, calculators in kinds if calculator in calculators), None)


def is_right(found: Value | None, answer: Mapping[str, Any]) -> bool:
    """Whether an answer that was read is right.

    A decimal is right within the limits, both included (5 % of the truth), an integer when it rounds to the truth
    (Python's `round`: 2.5 is 2, half to even), a date or a pair of weeks and days when it is the same.
    """
    if isinstance(found, int | float):
        if answer["kind"] == "integer":
            return round(found) == answer["value"]
        return bool(answer["lower"] <= found <= answer["upper"])
    return found is not None and found == answer["value"]


def read_answer(response: str, kind: Kind) -> Value | None:
    """What the benchmark's extractor makes of a response.

    Returns:
        A finite number for decimals and integers, MM/DD/YYYY for dates, [weeks, days] for weeks; None if it finds no
        answer, or one that its own rules cannot take.
    """
    found = [text for text, brace in _FIELD.findall(response) if brace] or _LINE.findall(response)
    return _READERS[kind](found[-1].strip().strip('"')) if found else None


# In all patterns, a repetition marked with a second + gives nothing back, so that no text makes a search slow; what is
# found is the same without. The benchmark looks for `answer":` and all up to a brace on the same line. The pattern here
# also steps over what no brace ends, up to another `answer":` whose value starts on the next line.
_FIELD = re.compile(r'[Aa]nswer":\s*+((?:(?![Aa]nswer":[^\S\n]*+\n)[^\n}])*+)(\}?)')
_LINE = re.compile(r"[Aa]nswer:[ \t]*+([^\n]*+)")


def _date(text: str) -> str | None:
    match = _MONTH_DAY_YEAR.match(text)
    return "{:02}/{:02}/{:04}".format(*map(int, match.groups())) if match else None


def _weeks(text: str) -> list[int] | None:
    bare = text.replace("[", "(").replace("]", ")").replace("'", "").replace('"', "")
    match = _PAIR.search(bare)
    # The benchmark's code searches the text as it is too, and fails if that finds nothing.
    if match is None or not _PAIR.search(text):
        return None
    weeks, days = map(_literal, match.groups())
    return None if weeks is None or days is None else [int(weeks), int(days)]


def _integer(text: str) -> float | None:
    if share := _OUT_OF.search(text):
        return _literal(share[1])
    if several := _LIST.search(text):
        return several[0].count(",") + 1
    numbers = _NUMBER.findall(text)
    return _literal(numbers[-1]) if numbers else None


def _decimal(text: str) -> float | None:
    start, end = text.find("str("), text.rfind(")")
    if -1 < start < end:
        return _worked_out(text[start + len("str(") : end])
    if filtration := _FILTRATION.search(text):
        return _literal(filtration[1])
    if shares := _SHARE.findall(text):
        number = _literal(shares[-1])
        return None if number is None else number / 100
    numbers = _NUMBER.findall(text)
    return _literal(numbers[-1]) if numbers else None


_READERS: dict[Kind, Callable[[str], Value | None]] = {
    "date": _date,
    "weeks": _weeks,
    "integer": _integer,
    "decimal": _decimal,
}

_MONTH_DAY_YEAR = re.compile(r"(0?[1-9]|1[0-2])/(0?[1-9]|[12][0-9]|3[01])/(\d{4})")
# The first number gives back digits to the second: this is how "31 weeks" becomes 3 and 1.
_PAIR = re.compile(r"""(\d+)\s*+(?:weeks?+)?+["']?+,?+\s*+["']?+(\d++)""")
_OUT_OF = re.compile(r"(?<!\d)(\d++) out of")
_LIST = re.compile(r"-?(?<!\d)\d++(?:, ?-?\d++)+")
_NUMBER = re.compile(r"-?\d++(?:\.\d++)?")
_FILTRATION = re.compile(r"(-?(?<!\d)\d++(?:\.\d++)?)\s*+mL/min/1.73")
_SHARE = re.compile(r"(-?(?<!\d)\d++(?:\.\d++)?)%")


def _literal(digits: str) -> float | None:
    """A number as Python reads it: "00" and "007.5" are numbers, "007" and other scripts' digits are not."""
    try:
        return _finite(ast.literal_eval(digits))
    except (SyntaxError, ValueError, ArithmeticError):  # also too many digits
        return None


def _finite(number: Any) -> float | None:
    return number if isinstance(number, int | float) and abs(number) < math.inf else None


# What the benchmark's code replaces in an expression, in this order. The letter g goes too, and with it `math.log`.
_REPLACED = (
    ("^", "**"),
    ("is odd", "% 2 == 1"),
    ("is even", "% 2 == 0"),
    ("sqrt", "math.sqrt"),
    (".math", ""),
    *((unit, "") for unit in ("weight", "height", "mg/dl", "g/dl", "mmol/L", "kg", "g", "mEq/L")),
)
_MOST_CHARACTERS = 1000
_MOST_BITS = 4096
_MOST_PLACES = 400


def _worked_out(expression: str) -> float | None:
    """The value of an expression within `str(...)`, its comment dropped and missing parentheses added."""
    for old, new in _REPLACED:
        expression = expression.replace(old, new)
    expression = expression.partition("#")[0]
    missing = expression.count("(") - expression.count(")")
    expression = f"{'(' * -missing}{expression}{')' * missing}".strip()
    if len(expression) > _MOST_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for "5is odd", which Python may come to refuse
            tree = ast.parse(expression, mode="eval")
        return _finite(_evaluate(tree.body))
    except (SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> Any:
    """A number or a truth value.

    Raises:
        ValueError: anything else is in the expression.
    """
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_evaluate(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_evaluate(left), _evaluate(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _OPERATORS[type(op)](_evaluate(left), _evaluate(right))
        case ast.Call(func=name, args=arguments, keywords=[]):
            return _FUNCTIONS[ast.unparse(name)](*map(_evaluate, arguments))
        case ast.Attribute():
            return _CONSTANTS[ast.unparse(node)]
    raise ValueError(f"no arithmetic: {type(node).__name__}")


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _MOST_BITS:
        raise OverflowError("too large")
    return base**exponent


def _round(number: Any, places: Any = None) -> Any:
    if places is not None and abs(places) > _MOST_PLACES:
        raise OverflowError("too many places")
    return round(number, places)


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "pow": _power,
    "round": _round,
    "abs": abs,
    "int": int,
    "float": float,
    "math.pow": math.pow,
    "np.power": _power,
    "numpy.power": _power,
    **{
        f"{module}.{name}": getattr(math, name)
        for module in ("math", "np", "numpy")
        for name in ("sqrt", "exp", "floor", "ceil")
    },
}
_CONSTANTS = {f"{module}.{name}": getattr(math, name) for module in ("math", "np", "numpy") for name in ("pi", "e")}
