"""HumanEval: 164 Python functions to be written from their head and docstring; one passes if its hidden tests do.

Source: Chen et al. 2021, arXiv 2107.03374. One greedy answer a problem, so `pass@1` is the share of problems that it
solves; `timeout` and `out_of_memory` are parts of the rest, as is `invalid`, the share of answers without any code. A
model without a chat template continues the prompt, as in the paper; one with a template is asked for the whole function
in a fenced block, and what it answers is read as a person would.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from itertools import takewhile
from pathlib import Path
from typing import Any

import datasets

from tradeoff.draws import draw
from tradeoff.evaluation import sandbox
from tradeoff.sources import read_rows

FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
INSTRUCTION = (
    "Complete the following Python function. Answer with the whole function in one fenced block that begins with "
    "```python and ends with ```.\n\n"
)
# Where the paper ends a completion: what follows is not in the function any more.
STOP = re.compile(r"\n(?:class|def|#|if|print)")
# A fence's mark: at the beginning of a line, or at the end but for the name of the language. A repetition marked with a
# second + gives nothing back, so that no text takes a long time.
FENCE = re.compile(r"(?im)^[ \t]*+(?:`{3,}+|~{3,}+)|(?:(?<!`)`{3,}+|(?<!~)~{3,}+)(?=[ \t]*+(?:python|py)?3?[ \t]*+$)")
PYTHON = re.compile(r"[ \t]*(?:python|py)3?\b", re.IGNORECASE)
STATEMENT = re.compile(r"(?:def|class|import|from|return|@)\b")
RETURN = re.compile(r"^[ \t]*(?:return|yield)\b", re.MULTILINE)
INDENTED = re.compile(r"(?:[ \t]*\n)*(?:  |\t)[ \t]*\S")
# A line that belongs to the statement above although it is not indented.
CONTINUED = re.compile(r"\s|$|[)\]}#]|(?:else|elif|except|finally)\b")
FUTURE = re.compile(r"^from __future__ import .*\n", re.MULTILINE)
# Names by which a statement below the function is known only to try it out.
TRYING = {"print", "input", "unittest", "doctest"}
ACTIVE = (ast.Call, ast.Yield, ast.YieldFrom)
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
DEFINITIONS = (*NAMED, ast.Import, ast.ImportFrom)


def items(
    count: int | None = None, seed: int = 0, files: dict[str, str] | None = None, chat: bool = False, **_: Any
) -> dict[str, datasets.Dataset]:
    """The test split: `count` problems, or all; `question` is what a model is asked.

    Raises:
        ValueError: there are fewer than `count`, or the file is not what it should be.
    """
    files = files or {}
    rows = _rows(files["humaneval"])
    if count is not None:
        rows = draw(rows, count, f"humaneval {seed}", files["humaneval"])
    instruction = INSTRUCTION if chat else ""
    asked = [{**row, "question": instruction + row["prompt"], "chat": chat} for row in rows]
    return {"test": datasets.Dataset.from_list(asked)}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Runs the answer's program against the problem's tests."""
    source = program(doc["prompt"], doc["entry_point"], results[0], doc["chat"])
    problem = sandbox.Problem(doc["prompt"], doc["entry_point"], doc["test"])
    outcome = None if source is None else sandbox.run(source, problem).outcome
    return {
        "pass@1": float(outcome == "passed"),
        "timeout": float(outcome == "timeout"),
        "out_of_memory": float(outcome == "out_of_memory"),
        "invalid": float(outcome is None),
    }


def program(prompt: str, entry_point: str, completion: str, chat: bool) -> str | None:
    """The program that an answer stands for; None where it has no code.

    Without `chat` it is the prompt and what follows, up to the paper's stop strings. With `chat` it is the first of: a
    fenced block or the text, if it defines the function; the prompt with an indented text as the function's body; the
    prompt with a fenced block as the body; the prompt with the text as the body. A body that has to be moved or looked
    for has a `return`.
    """
    text = re.sub(r"\r\n?", "\n", completion)
    if not chat:
        body = STOP.split(text, maxsplit=1)[0]
        return prompt + body if body.strip() else None
    text, blocks = _fenced(text.rpartition("</think>")[2])
    whole = _whole([*blocks, text], entry_point)
    if whole is not None:
        return _after_preamble(prompt, entry_point, _helpers(blocks, whole, entry_point) + whole)
    body, *more = _statements(text)
    code = "".join(filter(_parses, more))
    if INDENTED.match(text) and _parses(prompt + body + code):
        return _without_trials(prompt + body + code, entry_point)
    attempts = [_with_body(prompt, block) for block in blocks if RETURN.search(block)]
    if INDENTED.match(text):
        attempts.append(prompt + text)
    if attempts:
        return next(filter(_parses, attempts), attempts[0])
    attempts = [_with_body(prompt, body) for body in (text, code) if RETURN.search(body)]
    return next(filter(_parses, attempts), None)


# Reading a chat answer


def _fenced(text: str) -> tuple[str, list[str]]:
    """The text outside of fences, and what the fenced blocks hold, of which the last may lack its end."""
    first, *pieces = FENCE.split(text)
    outside, blocks, inside = [first], [], False
    for piece in pieces:
        # A language begins a block, even where the block before was not ended.
        inside = not inside or PYTHON.match(piece) is not None
        if inside:
            info, _, code = piece.partition("\n")
            info = PYTHON.sub("", info, count=1).strip()
            blocks.append(f"{info}\n{code}" if STATEMENT.match(info) else code)
        else:
            outside.append(piece)
    return "".join(outside), [block for block in blocks if block.strip()]


def _whole(sources: list[str], entry_point: str) -> str | None:
    """The first source that defines the function, with a body if one has that, ready to be run."""
    found = [_mended(code, entry_point) for code in map(textwrap.dedent, sources) if _defines(code, entry_point)]
    found += [code for source in sources for code in _indented(source, entry_point)]
    chosen = next((code for code in found if _is_written(code, entry_point)), found[0] if found else None)
    return None if chosen is None else _without_trials(chosen, entry_point)


def _defines(code: str, entry_point: str) -> bool:
    return re.search(rf"^(?:async +)?def +{entry_point}\b|^{entry_point} *[:=]", code, re.MULTILINE) is not None


def _indented(text: str, entry_point: str) -> list[str]:
    """The function where it stands indented, as in Markdown's other form of code, moved to the margin."""
    found = re.search(rf"^([ \t]+)def +{entry_point}\b", text, re.MULTILINE)
    if not found:
        return []
    lines = text[found.start() :].split("\n")
    return [textwrap.dedent("\n".join(takewhile(lambda s: not s.strip() or s.startswith(found[1]), lines)))]


def _mended(code: str, entry_point: str) -> str:
    """Code as it is if it parses; else those of its statements that do, without prose or what was cut short."""
    if _parses(code):
        return code
    kept = "".join(filter(_parses, _statements(code)))
    return kept if _defines(kept, entry_point) else code


def _statements(text: str) -> list[str]:
    """What is before the first line at the margin, and from each such line to the next one; decorators are joined."""
    found: list[list[str]] = [[]]
    decorator = False
    for line in re.findall(r".*\n|.+", text):
        if decorator or CONTINUED.match(line):
            found[-1].append(line)
        else:
            found.append([line])
        decorator = line.startswith("@")
    return ["".join(lines) for lines in found]


def _is_written(code: str, entry_point: str) -> bool:
    """Whether the function has a body, and not just a docstring, `pass` or an ellipsis."""
    tree = _tree(code)
    definitions = [s for s in tree.body if entry_point in _bound(s)] if tree else []
    bodies = [getattr(definition, "body", [definition]) for definition in definitions]
    return any(not (isinstance(s, ast.Pass) or _is_idle(s)) for body in bodies[-1:] for s in body)


def _without_trials(code: str, entry_point: str) -> str:
    """Code without what does nothing, and without the statements below the function that only try it out.

    Those are often examples with a wrong assertion, or wait for input.
    """
    tree = _tree(code)
    if tree is None:
        return code
    last = max((number for number, s in enumerate(tree.body) if entry_point in _bound(s)), default=len(tree.body))
    lines = code.split("\n")
    for number, s in enumerate(tree.body):
        names = {node.id for node in ast.walk(s) if isinstance(node, ast.Name)}
        trying = isinstance(s, ast.Assert) or bool(names & {*TRYING, entry_point})
        if _is_idle(s) or (number > last and trying and not isinstance(s, DEFINITIONS)):
            lines[s.lineno - 1 : s.end_lineno] = [""] * len(lines[s.lineno - 1 : s.end_lineno])
    return "\n".join(lines)


def _helpers(blocks: list[str], whole: str, entry_point: str) -> str:
    """Blocks of nothing but definitions, one of which the function's program uses."""
    tree = _tree(whole)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if tree else set()
    found = []
    for block in blocks:
        tree = _tree(block)
        if tree and all(isinstance(s, DEFINITIONS) for s in tree.body):
            bound = set().union(*map(_bound, tree.body))
            if bound & used and entry_point not in bound:
                found.append(block)
    return "\n".join([*found, ""])


def _after_preamble(prompt: str, entry_point: str, code: str) -> str:
    """Code after what the prompt has before its function, but for imports from the future, which must come first."""
    preamble = re.split(rf"^def +{entry_point}\b", prompt, maxsplit=1, flags=re.MULTILINE)[0]
    return "".join(FUTURE.findall(code)) + preamble + FUTURE.sub("", code)


def _with_body(prompt: str, code: str) -> str:
    """The prompt with code as the function's body, moved to where it parses."""
    moved = [textwrap.indent(textwrap.dedent(code), "    "), "    " + code.lstrip()]
    attempts = [prompt + body for body in ([code] if INDENTED.match(code) else []) + moved]
    return next(filter(_parses, attempts), attempts[0])


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a statement gives a value."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, NAMED):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing, such as a docstring, or prose that happens to parse."""
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    return isinstance(statement, ast.Expr) and not any(isinstance(node, ACTIVE) for node in ast.walk(statement))


def _parses(code: str) -> bool:
    return _tree(code) is not None


def _tree(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is no error, such as "\d"
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _rows(path: str) -> list[dict[str, Any]]:
    rows = read_rows(Path(path))
    for number, row in enumerate(rows, 1):
        for field in FIELDS:
            if not isinstance(row.get(field), str):
                raise ValueError(f"{path}: row {number} has no {field}")
    return [{field: row[field] for field in FIELDS} for row in rows]
