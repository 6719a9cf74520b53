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


def test_what_is_imported_counts(digest_of):
    first = digest_of(a_py="from tradeoff import b\n", b_py="x = 1\n")
    assert digest_of(b_py="x = 2\n") != first


def test_a_task_file_counts_beside_its_module_and_without_one(digest_of):
    alone = digest_of(a_yaml="task: a\n")
    assert digest_of(a_yaml="task: b\n") != alone
    beside = digest_of(a_py="x = 1\n")
    assert digest_of(a_yaml="task: c\n") != beside
