"""The audit of the environment: what it finds wrong, on packages made for the purpose."""

import base64
import hashlib
import importlib.util
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "envs" / "audit.py"
spec = importlib.util.spec_from_file_location("audit", FILE)
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)


@pytest.fixture
def package(tmp_path):
    """An installed package of one module."""
    code = tmp_path / "small.py"
    code.write_text("ONE = 1\n")
    hashed = base64.urlsafe_b64encode(hashlib.sha256(code.read_bytes()).digest()).rstrip(b"=").decode()
    info = tmp_path / "small-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"small.py,sha256={hashed},8\nsmall-1.0.dist-info/RECORD,,\n")
    return PathDistribution(info)


def test_a_file_that_was_changed_or_removed_after_installation_is_found(package, tmp_path):
    assert audit.changed_files(package) == []
    (tmp_path / "small.py").write_text("ONE = 2\n")
    assert audit.changed_files(package) == ["small.py"]
    (tmp_path / "small.py").unlink()
    assert audit.changed_files(package) == ["small.py"]


def test_another_version_than_the_lock_s_and_none_are_found():
    assert audit.installed("pytest", pytest.__version__) == []
    assert "is installed, the lock says 0.1" in audit.installed("pytest", "0.1")[0]
    assert audit.installed("no-such-package", "1.0") == ["no-such-package: not installed; make .venv/done"]


def test_known_vulnerabilities_and_withdrawn_versions_are_told():
    told = {
        "vulnerabilities": [
            {"id": "PYSEC-1", "fixed_in": ["1.1"], "link": "https://osv.dev/PYSEC-1", "withdrawn": None},
            {"id": "PYSEC-2", "fixed_in": [], "withdrawn": "2026-01-01"},
        ],
        "urls": [{"yanked": True}],
    }
    assert audit.known("small", "1.0", told) == [
        "small 1.0: PYSEC-1, mended in 1.1; https://osv.dev/PYSEC-1",
        "small 1.0: withdrawn from PyPI",
    ]
    assert audit.known("small", "1.1", {"vulnerabilities": [], "urls": [{"yanked": False}]}) == []


def test_every_package_of_the_lock_is_looked_at():
    assert {"torch", "transformers", "snakemake"} <= audit.locked().keys()
