"""Audits the environment against envs/lock.txt: `make audit`.

Every locked package has to be installed in that version, and each of its files has to have the hash that its wheel
recorded. Where PyPI can be reached, it is asked for known vulnerabilities and for versions that were withdrawn.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import urllib.request
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("lock.txt")
PYPI = "https://pypi.org/pypi/{name}/{version}/json"
SECONDS = 10.0


def locked(path: Path = LOCK) -> dict[str, str]:
    """The locked version of each package."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def changed_files(package: Distribution) -> list[str]:
    """The files of an installed package that are gone or are not what its wheel recorded."""
    found = []
    for file in package.files or []:
        if file.hash is None or file.name == "RECORD":
            continue
        path = Path(str(file.locate()))
        whole = hashlib.new(file.hash.mode, path.read_bytes()) if path.is_file() else None
        if whole is None or base64.urlsafe_b64encode(whole.digest()).rstrip(b"=").decode() != file.hash.value:
            found.append(str(file))
    return found


def installed(name: str, version: str) -> list[str]:
    """What is wrong with a package as it is installed."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return [f"{name}: not installed; make .venv/done"]
    if package.version.split("+")[0] != version:
        return [f"{name}: {package.version} is installed, the lock says {version}; make .venv/done"]
    return [f"{name}: {file} is not what its wheel recorded; install it again" for file in changed_files(package)]


def known(name: str, version: str, told: dict[str, Any]) -> list[str]:
    """What PyPI tells of a version: its answer's `vulnerabilities` and whether its files were withdrawn."""
    found = []
    for hole in told.get("vulnerabilities") or []:
        if not hole.get("withdrawn"):
            mended = ", ".join(hole.get("fixed_in") or []) or "no version yet"
            found.append(f"{name} {version}: {hole['id']}, mended in {mended}; {hole.get('link', '')}")
    if any(file.get("yanked") for file in told.get("urls") or []):
        found.append(f"{name} {version}: withdrawn from PyPI")
    return found


def asked(name: str, version: str) -> dict[str, Any]:
    """PyPI's answer about a version."""
    with urllib.request.urlopen(PYPI.format(name=name, version=version), timeout=SECONDS) as answer:
        return dict(json.load(answer))


def main() -> None:
    """Prints what is wrong; exit status 1 if anything is."""
    packages, wrong = locked(), []
    for name, version in packages.items():
        wrong += installed(name, version)
    print(f"{len(packages)} packages of the lock compared, file by file, with what their wheels recorded")
    try:
        for name, version in packages.items():
            wrong += known(name, version, asked(name, version))
        print("PyPI was asked for known vulnerabilities and withdrawn versions of each")
    except (OSError, ValueError) as error:
        print(f"PyPI was not asked for vulnerabilities: it cannot be reached from here ({error})")
    print("\n".join(wrong) if wrong else "nothing is wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
