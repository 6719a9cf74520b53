"""A job or command that only reads files starts without torch and transformers, whose import takes seconds."""

import subprocess
import sys

import pytest

LIGHT = (
    "tradeoff.data",
    "tradeoff.plan",
    "tradeoff.report.figures",
    "tradeoff.report.page",
    "tradeoff.report.terminal",
    "tradeoff.sources",
    "tradeoff.study",
    "tradeoff.tables.collect",
    "tradeoff.tables.recommendation",
    "tradeoff.tables.trajectory",
    "tradeoff.theory.figures",
    "tradeoff.theory.prediction",
    "tradeoff.trace",
)


@pytest.mark.parametrize("module", LIGHT)
def test_reading_tables_needs_no_torch(module):
    code = f"import sys, {module}; print(*({{'torch', 'transformers', 'lm_eval'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
