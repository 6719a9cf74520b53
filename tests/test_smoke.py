"""The whole way on a tiny random model in a copied tree, as a user runs it; and what runs again after a change."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tradeoff.models.base import MODEL
from tradeoff.tables import schemas

ROOT = Path(__file__).parents[1]
GENERAL = ["ifeval_mini", "arithmetic_mini", "base_text"]
STUDY = """
study: smoke
models: {{tiny: {{source: "folder:{model}"}}}}
domains: [shop_mini]
methods:
  sft:     {{recipe: sft}}
  l2:      {{recipe: l2, strength: 0.01}}
  lora:    {{recipe: lora, rank: 2, alpha: 4, lr_multiplier: 10}}
  average: {{recipe: average, of: sft, alpha: 0.5}}
  flow:    {{recipe: flow}}
  talr:    {{recipe: talr}}
learning_rates: ["1e-3"]
seeds: [0]
general: [ifeval_mini, arithmetic_mini, base_text]
trajectory: [0.5]
data:       {{train: 6, test: 4}}
training:   {{epochs: 1, batch_size: 3, batch_tokens: 4096, max_length: 4096}}
evaluation: {{items: 3}}
"""


def environment() -> dict[str, str]:
    """In which Snakemake runs: this Python comes first, and no hub is asked."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


class Tree:
    """A copy of the project in which a study runs."""

    patience = 1800  # seconds, for what takes three minutes on a machine that does nothing else

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        for name in ("Snakefile", "workflow", "config", "src", "profiles", "envs"):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)
        self.study = folder / "smoke.yaml"
        self.study.write_text(STUDY.format(model=model / MODEL))
        self.results = folder / "results" / "smoke"

    def copied(self, folder: Path, copy: Callable[[str, str], object] = shutil.copy2) -> Self:
        """A copy of the tree, with all that is in it."""
        made = type(self).__new__(type(self))
        made.folder = folder
        shutil.copytree(self.folder, folder, copy_function=copy)
        made.study, made.results = (folder / path.relative_to(self.folder) for path in (self.study, self.results))
        return made

    def take_any_data(self) -> None:
        """Takes files of other bytes than the published ones as the data sets."""
        table = self.folder / "config/datasets.tsv"
        content = pd.read_csv(table, sep="\t", comment="#", dtype=str, keep_default_na=False)
        content.assign(sha256="").to_csv(table, sep="\t", index=False)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Snakemake in the tree."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "smoke.yaml", *arguments]
        options = {"capture_output": True, "text": True, "timeout": self.patience}
        return subprocess.run(command, cwd=self.folder, env=environment(), **options)

    def snakemake(self, *arguments: str) -> str:
        """Runs Snakemake in the tree and returns what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def refused(self, *arguments: str) -> str:
        """Runs Snakemake, which has to fail, and returns the last line that it printed."""
        done = self.run(*arguments)
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs that would run now, by rule."""
        text = self.snakemake("--dry-run", *arguments)
        counts = dict(re.findall(r"^(\w+) +(\d+)$", text.split("Job stats:")[-1], re.M))
        return {rule: int(count) for rule, count in counts.items() if rule not in ("all", "total")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Tree:
    made = Tree(tmp_path_factory.mktemp("tree"), tiny_base)
    made.output = made.snakemake()  # type: ignore[attr-defined]
    return made


def test_every_run_is_in_the_tables_in_their_schemas(tree: Tree) -> None:
    tables = tree.results / "tables"
    compared = ["comparisons", "pareto", "hypervolume", "views", "recommendation", "hypotheses", "against_paper"]
    compared += ["trajectory", "token_difficulty", "hard_tokens", "token_weights", "prediction", "tilting"]
    expected = {name: getattr(schemas, name.upper()) for name in ("samples", "scores", *compared)}
    expected["tradeoff"] = schemas.tradeoff(GENERAL)
    expected["code_length"] = schemas.CODE_LENGTH_TABLE
    for name, schema in expected.items():
        assert pq.read_schema(tables / f"{name}.parquet").equals(schema), name
    table = schemas.read(tables / "tradeoff.parquet")
    assert table["method"].tolist() == ["base", "sft", "l2", "lora", "average", "flow", "talr"]
    assert table["domain_score"].between(0, 1).all()
    scores = schemas.read(tables / "scores.parquet")
    assert scores.groupby("run_id")["benchmark"].nunique().eq(4).all()
    assert scores[scores["benchmark"] == "base_text"]["n"].eq(3).all()


def test_training_moves_and_averaging_halves_the_move(tree: Tree) -> None:
    norm = schemas.read(tree.results / "tables" / "tradeoff.parquet").set_index("method")["delta_norm"]
    assert pd.isna(norm["base"])
    assert norm[["sft", "l2", "lora", "flow", "talr"]].gt(0).all()
    assert norm["average"] == pytest.approx(norm["sft"] / 2, rel=1e-6)
    assert not list((tree.results / "runs").rglob("average/**/delta.safetensors"))


def test_figure_and_terminal_table_name_every_method(tree: Tree) -> None:
    for name in ("pareto", "rates", "changes", "trajectory", "views", "hypervolume"):
        assert (tree.results / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (tree.results / "figures" / f"{name}.png").stat().st_size > 5_000
    page = (tree.results / "report.html").read_text()
    summary = (tree.results / "summary.txt").read_text()
    for method in ("base", "sft", "l2", "lora", "average", "flow", "talr"):
        assert re.search(rf"^{method} ", summary, re.M)
        assert f">{method}<" in page
    assert "6 training examples, 1 epoch, 1 seed, learning rates 1e-03; 4 test items of each domain" in page
    assert (
        "general ability: 3 of ifeval_mini, 3 of arithmetic_mini, 3 of base_text. Intervals: 95 %, bootstrap over"
        in page
    )
    assert "one seed: a standard deviation of 0.02 between trainings is assumed" in page
    assert "Recommendation for tiny on shop_mini" in summary
    assert summary.strip() in tree.output  # type: ignore[attr-defined]
    assert "steps (100%) done" in tree.output  # type: ignore[attr-defined]


def test_nothing_is_left_to_do_whatever_is_touched(tree: Tree) -> None:
    assert "Nothing to be done" in tree.snakemake()
    for path in [*tree.folder.glob("src/**/*.py"), *tree.folder.glob("workflow/rules/*"), *tree.results.rglob("*")]:
        if "scripts" not in path.parts:
            path.touch()
    assert not {"train", "evaluate", "evaluate_base", "import_base"} & set(tree.planned())


def test_a_comment_runs_nothing_again(tree: Tree) -> None:
    with _edited(tree.folder / "src/tradeoff/training/loop.py", lambda text: text + "\n# a comment\n"):
        assert "train" not in tree.planned()


def test_an_edit_to_a_method_retrains_that_method_alone(tree: Tree) -> None:
    file = tree.folder / "src/tradeoff/methods/talr.py"
    with _edited(file, lambda text: text.replace("decay(nll_T, tau)", "decay(nll_T, 2 * tau)")):
        jobs = tree.planned()
    assert (jobs["train"], jobs["evaluate"]) == (1, 1)
    assert "derive" not in jobs


def test_an_edit_to_the_loop_retrains_all(tree: Tree) -> None:
    file = tree.folder / "src/tradeoff/training/loop.py"
    with _edited(file, lambda text: text.replace("EPSILON = 1e-8", "EPSILON = 1e-7")):
        assert tree.planned()["train"] == 5


def test_another_model_in_its_folder_is_imported_anew(tree: Tree) -> None:
    """Its weights, or its chat template alone."""
    folder = Path(tree.study.read_text().split("folder:")[1].split('"')[0])
    for name in ("model.safetensors", "chat_template.jinja"):
        before = (folder / name).read_bytes()
        try:
            (folder / name).write_bytes(before + b" ")
            assert {"import_base", "train", "evaluate"} <= set(tree.planned())
        finally:
            (folder / name).write_bytes(before)
            os.utime(folder / name, (0, 0))


def test_an_edit_to_a_figure_retrains_nothing(tree: Tree) -> None:
    file = tree.folder / "src/tradeoff/report/figures.py"
    with _edited(file, lambda text: text.replace("height=400", "height=410")):
        assert tree.planned() == {"plot": 1}


def test_one_more_rate_adds_only_its_own_runs(tree: Tree) -> None:
    with _edited(tree.study, lambda text: text.replace('["1e-3"]', '["1e-3", "1e-4"]')):
        jobs = tree.planned()
    assert (jobs["train"], jobs["derive"], jobs["evaluate"]) == (5, 1, 1)
    assert "evaluate_base" not in jobs


def test_one_more_benchmark_trains_nothing(tree: Tree) -> None:
    with _edited(tree.study, lambda text: text.replace("[ifeval_mini, arithmetic_mini, base_text]", "[ifeval_mini]")):
        jobs = tree.planned()
    assert "train" not in jobs
    assert jobs["evaluate"] == 1


class _edited:
    """A file with an edit, for the length of a block."""

    def __init__(self, path: Path, edit) -> None:
        self.path, self.text = path, path.read_text()
        changed = edit(self.text)
        assert changed != self.text, "the edit found nothing to change"
        path.write_text(changed)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.path.write_text(self.text)
