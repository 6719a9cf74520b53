"""All cross-checks with other programs, one table: `make crosscheck`. An unexplained difference fails the command."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import common
from rows import UNEXPLAINED, Row

CHECKS = ("classes", "merged", "verdicts", "suites", "steps")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make crosscheck", description=__doc__)
    parser.add_argument("checks", nargs="*", default=CHECKS, help=f"of {', '.join(CHECKS)}; all by default")
    parser.add_argument("--data", default="data", help="folder of the files that config/datasets.tsv names")
    parser.add_argument("--gsm8k", type=int, default=10, help="items")
    parser.add_argument("--ifeval", type=int, default=24, help="items")
    parser.add_argument("--humaneval", type=int, default=12, help="items")
    parser.add_argument("--tokens", type=int, default=80, help="limit of a response")
    parser.add_argument("--batch", type=int, default=16, help="prompts at once")
    a = parser.parse_args()
    counts = {name: getattr(a, name) for name in ("gsm8k", "ifeval", "humaneval")}
    options = json.dumps({"data": a.data, "items": counts, "tokens": a.tokens, "batch": a.batch})
    if unknown := set(a.checks) - set(CHECKS):
        parser.error(f"no check {sorted(unknown)[0]}; choose of {', '.join(CHECKS)}")
    if {"verdicts", "suites"} & set(a.checks) and not Path(a.data, "gsm8k").is_dir():
        parser.error(
            f"--data {a.data}: has no gsm8k/; name a folder with the files of config/datasets.tsv (DATA=folder)"
        )
    for check in a.checks:
        started = time.perf_counter()
        found = common.isolated(f"crosscheck/{check}.py", options)
        seconds = time.perf_counter() - started
        common.save(f"crosscheck/{check}", {"options": vars(a), "seconds": seconds, **found})
        print(f"{check}: {seconds:.0f} s", file=sys.stderr, flush=True)
    # What was not run now is as it was found before.
    files = {check: common.OUTPUT / "crosscheck" / f"{check}.json" for check in CHECKS}
    found = {check: json.loads(file.read_text()) for check, file in files.items() if file.is_file()}
    common.save("crosscheck", found)
    rows = [Row(**row) for of in found.values() for row in of["rows"]]
    print(table(rows))
    wrong = [row for row in rows if row.unexplained]
    if wrong:
        sys.exit(f"unexplained differences in {len(wrong)} rows; results/bench/crosscheck.json has them item by item")


def table(rows: list[Row]) -> str:
    """The rows in Markdown; a cause is a number below the table."""
    causes: dict[str, int] = {}
    lines = [
        "| check | against | compared | n | differ | largest | tolerance | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        known = {cause: count for cause, count in row.reasons.items() if cause != UNEXPLAINED}
        why = [f"{count} by {causes.setdefault(cause, len(causes) + 1)}" for cause, count in known.items()]
        why += [f"{row.unexplained} {UNEXPLAINED}"] if row.unexplained else []
        largest, tolerance = ("" if not row.tolerance else f"{x:.1e}" for x in (row.largest, row.tolerance))
        cells = (row.check, row.against, row.what, row.compared, row.differ, largest, tolerance, ", ".join(why))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", *(f"{number}. {cause}" for cause, number in causes.items())])


if __name__ == "__main__":
    main()
