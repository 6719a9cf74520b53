"""Learning rates: one spelling of one number, whatever YAML and people write."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tradeoff.study import canonical_rate

COMMON = Path(__file__).parents[1] / "workflow/rules/common.smk"
WRITTEN = '[1e-6, 1.0e-6, 0.000001, "1e-06", 5e-6]'


def test_yaml_s_strings_and_numbers_are_two_rates():
    read = yaml.safe_load(WRITTEN)
    assert [type(value) for value in read] == [str, float, float, str, str]
    assert [canonical_rate(value) for value in read] == ["1e-06"] * 4 + ["5e-06"]


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        (1e-6, "1e-06"),
        ("1E-6", "1e-06"),
        ("+1e-6", "1e-06"),
        ("0.0000100", "1e-05"),
        (2e-5, "2e-05"),
        ("1.5e-4", "1.5e-04"),
        (3e-5 / 10, "3e-06"),
        ("7e-5", "7e-05"),
        (0.1, "1e-01"),
        (1, "1e+00"),
        ("10", "1e+01"),
        (1e-100, "1e-100"),
    ],
)
def test_a_rate_has_one_spelling(value, spelling):
    assert canonical_rate(value) == spelling


@example(7, -5)
@given(st.integers(1, 999_999), st.integers(-30, 3))
def test_a_spelling_is_the_same_number_fits_the_paths_and_stays(digits, exponent):
    text = f"{digits}e{exponent}"
    spelling = canonical_rate(text)
    assert float(spelling) == float(text)
    assert canonical_rate(spelling) == canonical_rate(float(text)) == spelling
    assert re.fullmatch(r"[0-9.]+e[-+][0-9]+", spelling)


def test_the_workflow_takes_that_spelling_and_no_other():
    constraint = re.search(r'rate=r"(.+)"', COMMON.read_text(encoding="utf-8")).group(1)
    assert re.fullmatch(constraint, "1e-06")
    path = re.compile(rf"lr=(?P<rate>{constraint})/seed=(?P<seed>[0-9]+)")
    assert path.fullmatch("lr=1.5e-04/seed=0").groupdict() == {"rate": "1.5e-04", "seed": "0"}
    assert not path.fullmatch("lr=0.0001/seed=0")


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1e-6,
        "-1e-6",
        float("nan"),
        float("inf"),
        "nan",
        "fast",
        "",
        None,
        True,
        [1e-6],
        "1e400",
        "1e-400",
        "1_0",
        "١",
    ],
)
def test_what_is_no_rate_is_refused_with_a_remedy(value):
    with pytest.raises(ValueError, match="write a number such as 2e-5"):
        canonical_rate(value)
