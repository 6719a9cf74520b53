"""Which code a domain's examples hang on: an edit to its scoring is none to them, and what cannot be told counts."""

import shutil

import pytest

from tradeoff import domains, provenance, reach

PACKAGE = "tradeoff.domains"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the source, in which an edit changes digests or not."""
    shutil.copytree(provenance.SOURCE / "tradeoff", tmp_path / "tradeoff")
    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    forget()
    yield tmp_path / "tradeoff"
    forget()


def forget():
    reach._definitions.cache_clear()
    provenance._meaning.cache_clear()


def digests(name):
    forget()
    return reach.examples_digest(f"{PACKAGE}.{name}"), provenance.code_digest([f"{PACKAGE}.{name}"])


def edit(file, old, new):
    text = file.read_text()
    assert text.count(old), f"{old!r} is not in {file.name}"
    file.write_text(text.replace(old, new, 1))


SCORING = [
    ("shop_mini", "shop_mini.py", "ignore_case=True", "ignore_case=False"),
    ("shop_mini", "shop_mini.py", "return LABELS if", "return LABELS[:3] if"),
    ("medcalc_mini", "_medcalc_rules.py", "def read_answer(", "def read_answer(more=1, *, "),
    ("medcalc", "medcalc.py", "def _result(", "def _result(more=1, *, "),
    ("custom", "custom.py", "invalid=found is None", "invalid=not found"),
    ("custom", "custom.py", "file_of(self.scorer),", "file_of(self.scorer), 'else',"),
]
EXAMPLES = [
    ("custom", "_shapes.py", '"gpt": "assistant"', '"gpt": "user"'),
    ("custom", "_splits.py", "SHINGLE = 3", "SHINGLE = 4"),
    ("shop_mini", "shop_mini.py", "_TRIES = 1000", "_TRIES = 999"),
    ("shop_mini", "../draws.py", "def generated(", "def generated(more=1, *, "),
    ("shop_mini", "shop_mini.py", '"Exact": 0.42', '"Exact": 0.43'),
    ("medcalc_mini", "_medcalc_rules.py", "def limits(", "def limits(more=1, *, "),
    ("medcalc", "medcalc.py", "def _example(", "def _example(more=1, *, "),
    ("custom", "_scorers.py", "LONGEST_PATTERN = 1000", "LONGEST_PATTERN = 999"),
    ("esci_cot", "esci.py", "_CUT = ", "_CUT = 1 + "),
    ("metamath", "../draws.py", "def draw(", "def draw(more=1, *, "),
]


@pytest.mark.parametrize(("name", "file", "old", "new"), SCORING)
def test_an_edit_to_scoring_changes_the_domain_and_not_its_examples(source, name, file, old, new):
    before = digests(name)
    edit(source / "domains" / file, old, new)
    after = digests(name)
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize(("name", "file", "old", "new"), EXAMPLES)
def test_an_edit_to_what_examples_are_made_of_changes_both(source, name, file, old, new):
    before = digests(name)
    edit(source / "domains" / file, old, new)
    after = digests(name)
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_examples_that_ask_for_a_score_hang_on_it(source):
    file = source / "domains/shop_mini.py"
    edit(file, "_example(split, index, seed, seen)", "self.score and _example(split, index, seed, seen)")
    before = digests("shop_mini")
    edit(file, "ignore_case=True", "ignore_case=False")
    assert digests("shop_mini")[0] != before[0]


@pytest.mark.parametrize("name", domains.names())
def test_comments_change_nothing_and_every_domain_s_examples_are_found(source, name):
    before = digests(name)
    for file in (source / "domains").glob("*.py"):
        file.write_text(file.read_text() + "\n# a comment\n")
    assert digests(name) == before
    edit(source / "domains" / f"{name}.py", "class ", "class _Made(Domain):\n    kind = 'made'\n\n\nclass ")
    assert digests(name)[0] != before[0]
