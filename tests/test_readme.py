"""The README tells the truth: its map is the tree, its example of a method runs."""

import math
import re
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from tradeoff import study
from tradeoff.methods import Tokens

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> set[Path]:
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return {Path(file) for file in files} or {p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file()}


def test_the_map_is_the_tree():
    block = README.split("## Map")[1].split("```")[1]
    folder, named = "", set()
    for line in block.splitlines()[1:]:
        name = line.split()[0]
        if line.startswith("src/tradeoff/"):
            folder = "src/tradeoff/"
        elif not line.startswith("  "):
            folder = ""
            named.add(name)
        else:
            named.add(f"{folder}{name}")
    for name in named:
        assert (ROOT / name).exists(), f"{name} is on the map and not in the tree"
    here = {p.parts[2] + ("/" if len(p.parts) > 3 else "") for p in tracked() if p.parts[:2] == ("src", "tradeoff")}
    missing = {n for n in here - {"__init__.py", "py.typed"} if f"src/tradeoff/{n}" not in named}
    assert not missing, f"in src/tradeoff and not on the map: {missing}"
    folders = {f"{p.parts[0]}/" for p in tracked() if len(p.parts) > 1} - {"src/"}
    assert {f for f in folders if not any(n.startswith(f) for n in named)} == set()


def test_the_walk_through_a_domain_of_one_s_own_is_what_it_says(tmp_path, monkeypatch, capsys):
    """Its file and its study, put into the default one, give both splits; its mistake is told as it says."""
    walk = README.split("## Your own domain")[1].split("\n## ")[0]
    lines = re.search(r"```json\n(.*?)```", walk, re.S)[1]
    own = yaml.safe_load(re.search(r"```yaml\n(.*?)```", walk, re.S)[1])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets.jsonl").write_text(lines)
    default = yaml.safe_load((ROOT / "config/quickstart.yaml").read_text())
    (tmp_path / "tickets.yaml").write_text(yaml.safe_dump({**default, **own}))
    asked = study.load(tmp_path / "tickets.yaml")
    asked.check_files()
    domain = asked.domains["tickets"]
    files = asked.read_by("tickets", "train")
    found = {split: domain.examples(split, None, 0, files) for split in ("train", "test")}
    assert sum(map(len, found.values())) == lines.count("\n")
    assert all(found.values())
    assert all(domain.score(e.response, e.answer).values["accuracy"] == 1 for e in found["test"])
    assert "rows read: 10 as messages; columns not used: none" in capsys.readouterr().out
    first, second, rest = lines.split("\n", 2)
    second = "contnet".join(second.rsplit("content", 1))
    (tmp_path / "tickets.jsonl").write_text("\n".join([first, second, rest]))
    with pytest.raises(ValueError) as error:
        domain.examples("train", None, 0, files)
    assert str(error.value) in " ".join(walk.split())


def test_the_example_of_a_method_is_what_it_says():
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "class Focal" in block)
    space: dict = {}
    exec(code, space)
    tokens = Tokens(torch.tensor([0.0, math.log(2), math.log(10)]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(space["Focal"]().token_weights(tokens), torch.tensor([0.0, 0.25, 0.81]))
