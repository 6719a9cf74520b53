"""A digest of code changes with what the code means, and with nothing else."""

import pytest

from tradeoff import provenance


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Writes files and digests the module `tradeoff.a`."""
    monkeypatch.setattr(provenance, "SOURCE", tmp_path)

    def of(**files):
        for name, text in files.items():
            path = tmp_path / "tradeoff" / name.replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        provenance._meaning.cache_clear()
        return provenance.code_digest(["tradeoff.a"])

    yield of
    provenance._meaning.cache_clear()


def test_comments_docstrings_and_layout_do_not_count_and_values_do(digest_of):
    first = digest_of(a_py='"""Doc."""\nx = 1\n')
    assert digest_of(a_py='"""Other."""\n# comment\nx  =  1\n') == first
    assert digest_of(a_py='"""Doc."""\nx = 2\n') != first


def test_texts_that_only_a_person_reads_do_not_count_and_what_they_stand_beside_does(digest_of):
    def module(told, code="x > 1"):
        return f"""
def f(x):
    if {code}:
        raise ValueError(f"{told}: {{x}}")
    assert x, "{told}"
    print("{told}", x)
    Progress("{told}", 3).advance(note=f"{told} {{x}}")
    parser.add_argument("--x", help="{told}")
    return Field(default=1, description="{told}")
"""

    first = digest_of(a_py=module("one"))
    assert digest_of(a_py=module("another")) == first
    assert digest_of(a_py=module("one", code="x > 2")) != first
    for kept in ('"--x"', "ValueError", "default=1"):
        assert (
            digest_of(a_py=module("one").replace(kept, kept.replace("x", "y").replace("V", "K").replace("1", "2")))
            != first
        )


def test_a_text_that_a_result_may_hold_counts(digest_of):
    for line in ('raise OSError("{}")', 'figure(description="{}")', 'x = "{}"', 'y.append("{}")'):
        assert digest_of(a_py=line.format("one")) != digest_of(a_py=line.format("another")), line


def test_what_tells_errors_and_progress_does_not_count(digest_of):
    first = digest_of(a_py="from tradeoff import errors\nfrom tradeoff.progress import Progress\n", errors_py="x = 1\n")
    assert digest_of(errors_py="x = 2\n", progress_py="y = 1\n") == first


def test_comments_and_layout_of_a_task_file_do_not_count(digest_of):
    first = digest_of(a_yaml="task: a\nf: !function a.b\n")
    assert digest_of(a_yaml="# about\nf:   !function a.b  # there\ntask: 'a'\n") == first
    assert digest_of(a_yaml="task: a\nf: !function a.c\n") != first


def test_what_is_imported_counts(digest_of):
    first = digest_of(a_py="from tradeoff import b\n", b_py="x = 1\n")
    assert digest_of(b_py="x = 2\n") != first


def test_a_task_file_counts_beside_its_module_and_without_one(digest_of):
    alone = digest_of(a_yaml="task: a\n")
    assert digest_of(a_yaml="task: b\n") != alone
    beside = digest_of(a_py="x = 1\n")
    assert digest_of(a_yaml="task: c\n") != beside


def test_a_table_beside_a_module_counts(digest_of):
    without = digest_of(a_py="x = 1\n", a_yaml="task: a\n")
    first = digest_of(a_tsv="question\tright\nHow many?\ttwo\n")
    assert without != first != digest_of(a_tsv="question\tright\nHow many?\tten\n")
