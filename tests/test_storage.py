"""Jobs that share no file system, only a store, as in pods of a cluster: `make storage`, which needs rsync.

Each job runs in an empty folder that has what git knows of the project, as Snakemake's executors for clouds send it.
"""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from outcome import tables
from test_airgapped import files, tree  # noqa: F401
from test_smoke import Tree

pytestmark = pytest.mark.slow

SUBMIT = """#!/bin/sh
pod=$(mktemp -d {pods}/XXXXXX)
(cd {tree} && git ls-files | tar c -T -) | tar x -C "$pod"
cp "$1" "$pod/job.sh"
cd "$pod"
setsid sh -c 'sh job.sh; echo $? > status' > told.txt 2>&1 < /dev/null &
basename "$pod"
"""
STATUS = """#!/bin/sh
case $(cat {pods}/$1/status 2>/dev/null) in '') echo running;; 0) echo success;; *) echo failed;; esac
"""


def executable(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def away(tree: Tree) -> Tree:  # noqa: F811
    """A tree of which git knows the study and a person's own data."""
    assert shutil.which("rsync"), "the store of this test needs rsync; install it"
    study = yaml.safe_load(tree.study.read_text())
    study["methods"] |= {"flow": {"recipe": "flow"}, "average": {"recipe": "average", "of": "sft", "alpha": 0.5}}
    study["general"] = {"gsm8k": study["general"]["gsm8k"], "base_text": {}}
    study |= {"trajectory": [0.5], "evaluation": {"items": 2}}
    tree.study.write_text(yaml.safe_dump(study, sort_keys=False))
    (tree.folder / ".gitignore").write_text("/results/\n/.snakemake/\n__pycache__/\n")
    for command in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=tree.folder, check=True)
    return tree


def test_jobs_in_folders_of_their_own_make_the_same_tables(away: Tree, files: Path, tmp_path: Path) -> None:  # noqa: F811
    given = ("--config", f"data_root={files}")
    together = away.copied(tmp_path / "together")
    together.snakemake(*given)

    pods, store = tmp_path / "pods", tmp_path / "store"
    pods.mkdir()
    submit = executable(tmp_path / "submit", SUBMIT.format(pods=pods, tree=away.folder))
    status = executable(tmp_path / "status", STATUS.format(pods=pods))
    generic = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", submit)
    generic += ("--cluster-generic-status-cmd", status, "--jobs", "2")
    stored = ("--default-storage-provider", "fs", "--default-storage-prefix", str(store), "--shared-fs-usage", "none")
    told = away.snakemake(*generic, *stored, *given)
    assert "Submitted job" in told
    assert not away.results.exists()
    assert tables(store / "results/smoke") == tables(together.results)
    assert "Nothing to be done" in away.snakemake(*generic, *stored, *given)
