"""The environments name the same versions."""

import re
from pathlib import Path

import yaml

ENVS = Path(__file__).parents[1] / "envs"


def versions(lines):
    """Versions by normalised name, of `name==version` lines."""
    pairs = [line.strip().split("==") for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), pairs
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_the_conda_environment_has_the_versions_of_the_lock():
    lock = versions((ENVS / "lock.txt").read_text().splitlines())
    dependencies = yaml.safe_load((ENVS / "tradeoff.yaml").read_text())["dependencies"]
    (pip,) = (part["pip"] for part in dependencies if isinstance(part, dict))
    script = (ENVS / "tradeoff.post-deploy.sh").read_text()
    (alone,) = re.findall(r"pip install --no-deps (\S+)$", script, re.M)
    named = versions([*pip, alone])
    assert len(named) == len(pip) + 1
    assert named == {name: lock.get(name) for name in named}


def test_the_lock_pins_each_package_once_without_a_local_build():
    lines = [line for line in (ENVS / "lock.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(versions(lines)) == len(lines)
    assert not [line for line in lines if "+" in line]
