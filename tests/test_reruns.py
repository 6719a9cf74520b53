"""The rerun matrix: a change, and exactly the jobs that have to run again because of it. `make matrix` runs it all.

Finished results of the smoke study lie in a copied tree; each case makes its change, asks Snakemake what it would run,
and takes the change back. Too much is a fault, too little a worse one.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import tiny
from outcome import tables
from safetensors.torch import load_file, save_file
from test_smoke import STUDY, Tree, _edited

from tradeoff.models.base import MODEL

pytestmark = pytest.mark.slow

TRAINED = ["sft", "l2", "lora", "flow", "talr"]
METHODS = [*TRAINED, "average"]
TICKETS = [{"prompt": f"{i} + 1?", "response": str(i + 1)} for i in range(8)]
JSONL = "  tickets: {domain: jsonl, train: train.jsonl, test: test.jsonl}\n"


def made_by(*methods: str, domain: str = "shop_mini", rate: str = "1e-03", seed: int = 0) -> set[str]:
    """The jobs that make the runs of some methods and evaluate them."""
    jobs = set()
    for method in methods:
        run = f"{domain}/{method}/lr={rate}/seed={seed}"
        jobs |= {f"{'derive' if method == 'average' else 'train'} {run}"}
    return jobs | {f"evaluate {domain}/lr={rate}/seed={seed}"}  # one job for all methods, which the store shortens


# Rules that take long, of which exactly the right jobs have to run. Tables, figures and pages take seconds: of these
# the first has to run where something changed, and all may.
LONG = {"import_base", "fetch", "draw", "distill", "encode", "measure_base", "sample_base_text", "train", "derive"}
LONG |= {"evaluate_base", "evaluate"}
REPORT = {"tabulate"}
EVALUATIONS = {"evaluate_base tiny", "evaluate shop_mini/lr=1e-03/seed=0"}
ALL_RUNS = made_by(*METHODS)
DATA = {"draw shop_mini/train", "draw shop_mini/test", "encode shop_mini", "measure_base shop_mini"}
EVERYTHING = DATA | ALL_RUNS | EVALUATIONS | REPORT | {"import_base tiny", "sample_base_text tiny"}


class Finished(Tree):
    """A tree whose results are finished."""

    patience = 7200

    def jobs(self, *arguments: str, **environment: str) -> set[str]:
        """What would run, each job as its rule and what it is for."""
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            text = self.snakemake("--dry-run", "--quiet", "host", *arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
        found = set()
        for rule, block in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", text, re.M):
            told = dict(re.findall(r"(\w+)=([^,\n]+)", (re.findall(r"wildcards: (.*)", block) or [""])[0]))
            if rule in LONG or rule in REPORT:
                found.add(f"{rule} {_about(told)}".strip())
        return found


def _about(wildcards: dict[str, str]) -> str:
    if "rate" in wildcards:
        w = wildcards
        return "/".join(
            [w["domain"], *([w["method"]] if "method" in w else []), f"lr={w['rate']}", f"seed={w['seed']}"]
        )
    if "domain" in wildcards:
        return "/".join(wildcards[key] for key in ("domain", "part") if key in wildcards)
    return next(iter(wildcards.values()), "")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Finished:
    made = Finished(tmp_path_factory.mktemp("reruns"), tiny_base)
    made.snakemake()
    assert made.jobs() == set()
    return made


def case(*jobs: set[str], file: str = "smoke.yaml", old: str = "", new: str = ""):
    return file, old, new, set().union(*jobs)


RATES = made_by(*METHODS, rate="1e-04")
SEEDS = made_by(*METHODS, seed=1)
MATRIX = {
    "one method's file": case(
        made_by("talr"),
        REPORT,
        file="src/tradeoff/methods/talr.py",
        old="decay(nll_T, tau)",
        new="decay(nll_T, 2 * tau)",
    ),
    "the method that another is derived from": case(
        made_by("average"),
        REPORT,
        file="src/tradeoff/methods/average.py",
        old="delta.scaled(",
        new="delta.scaled(1.0 * ",
    ),
    "the loop": case(
        ALL_RUNS, REPORT, file="src/tradeoff/training/loop.py", old="EPSILON = 1e-8", new="EPSILON = 1e-7"
    ),
    "a domain's scorer": case(
        EVALUATIONS, REPORT, file="src/tradeoff/domains/shop_mini.py", old="ignore_case=True", new="ignore_case=False"
    ),
    "a domain's examples": case(
        EVERYTHING - {"import_base tiny", "sample_base_text tiny"},
        file="src/tradeoff/domains/shop_mini.py",
        old='"Exact": 0.42',
        new='"Exact": 0.43',
    ),
    "a benchmark's checks": case(
        EVALUATIONS,
        REPORT,
        file="src/tradeoff/evaluation/ifeval_checks.py",
        old="import punkt",
        new="import punkt\n\nX = 1",
    ),
    "a comment in every file": case(set(), file="src/tradeoff/**/*.py", old="", new="\n# a comment\n"),
    "a comment in every task": case(set(), file="src/tradeoff/evaluation/tasks/*.yaml", old="", new="\n# a comment\n"),
    "the words of an error": case(
        set(), file="src/tradeoff/models/import_base.py", old="cannot be had", new="could not be had"
    ),
    "the words of a help": case(
        set(), file="src/tradeoff/training/train.py", old="JSON of Study", new="a JSON of Study"
    ),
    "the words of a progress line": case(set(), file="src/tradeoff/training/train.py", old='f"nll', new='f"loss'),
    "what a setting is for": case(
        set(), file="src/tradeoff/training/settings.py", old="passes over the", new="passes over all"
    ),
    "how a mistake is told": case(set(), file="src/tradeoff/errors.py", old="repr(value), 60", new="repr(value), 70"),
    "a comment in the study": case(set(), old="seeds:", new="# as many as it takes\nseeds:"),
    "one more rate": case(RATES, REPORT, old='["1e-3"]', new='["1e-3", "1e-4"]'),
    "the same rate in another spelling": case(set(), old='["1e-3"]', new="[0.001]"),
    "one more seed": case(SEEDS, REPORT, old="seeds: [0]", new="seeds: [0, 1]"),
    "one more method": case(
        made_by("l2_weak"), REPORT, old="  flow:", new="  l2_weak: {recipe: l2, strength: 0.001}\n  flow:"
    ),
    "one method less": case({"evaluate shop_mini/lr=1e-03/seed=0"}, REPORT, old="  talr:    {recipe: talr}\n", new=""),
    "one benchmark less": case(EVALUATIONS, REPORT, old="arithmetic_mini, base_text]", new="base_text]"),
    "a hyper-parameter of one method": case(made_by("l2"), REPORT, old="strength: 0.01", new="strength: 0.02"),
    "two hyper-parameters' values swapped": case(
        made_by("lora"), REPORT, old="rank: 2, alpha: 4", new="rank: 4, alpha: 2"
    ),
    "the order of the methods": case(
        REPORT,
        old="  flow:    {recipe: flow}\n  talr:    {recipe: talr}",
        new="  talr: {recipe: talr}\n  flow: {recipe: flow}",
    ),
    "more epochs": case(ALL_RUNS, REPORT, old="epochs: 1", new="epochs: 2"),
    "more training data": case(
        {"draw shop_mini/train", "encode shop_mini", "measure_base shop_mini"},
        ALL_RUNS,
        REPORT,
        old="train: 6",
        new="train: 7",
    ),
    "more test data": case({"draw shop_mini/test"}, EVALUATIONS, REPORT, old="test: 4", new="test: 5"),
    "fewer items": case({"sample_base_text tiny"}, EVALUATIONS, REPORT, old="items: 3", new="items: 2"),
    "evaluation's precision": case(
        {"sample_base_text tiny"}, EVALUATIONS, REPORT, old="{items: 3}", new="{items: 3, precision: bfloat16}"
    ),
}


@pytest.mark.parametrize("change", MATRIX)
def test_exactly_what_hangs_on_a_change_runs_again(tree: Finished, change: str) -> None:
    pattern, old, new, expected = MATRIX[change]
    texts = {file: file.read_text() for file in tree.folder.glob(pattern)}
    try:
        for file, text in texts.items():
            assert old in text, f"the edit of {file.name} finds nothing to change"
            file.write_text(text.replace(old, new, 1) if old else text + new)
        assert tree.jobs() == expected
    finally:
        for file, text in texts.items():
            file.write_text(text)


def test_a_touch_of_everything_runs_nothing_that_takes_long(tree: Finished) -> None:
    for path in [*tree.folder.glob("src/**/*"), *tree.folder.glob("workflow/**/*"), *tree.results.rglob("*")]:
        path.touch()
    assert tree.jobs() <= REPORT
    tree.snakemake()
    assert tree.jobs() == set()


@pytest.mark.parametrize("seed", ["1", "12345"])
def test_another_hash_seed_runs_nothing(tree: Finished, seed: str) -> None:
    assert tree.jobs(PYTHONHASHSEED=seed) == set()


def test_a_plot_s_edit_draws_alone(tree: Finished) -> None:
    with _edited(tree.folder / "src/tradeoff/report/figures.py", lambda text: text + "\nMADE = 1\n"):
        assert tree.jobs() == set()
        assert "plot" in tree.planned()


def test_another_base_runs_everything_that_hangs_on_the_base(tree: Finished, tmp_path: Path) -> None:
    other = tiny.base_folder(tmp_path / "other", tiny.model(std=0.3))
    first = str(tree.study.read_text().split("folder:")[1].split('"')[0])
    with _edited(tree.study, lambda text: text.replace(first, str(other / MODEL))):
        assert tree.jobs() == EVERYTHING - {"draw shop_mini/train", "draw shop_mini/test"}


def test_a_clone_with_copied_results_has_nothing_to_do(tree: Finished, tmp_path: Path) -> None:
    """With `.snakemake`, which knows what each result was made of."""
    clone = tree.copied(tmp_path / "clone", shutil.copy)  # all times are new, in any order
    assert clone.jobs() <= REPORT


def test_a_person_s_data_file(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> None:
    """Another training file leaves the test items; another test file trains too, as training is kept apart from it."""
    made = Finished(tmp_path_factory.mktemp("tickets"), tiny_base)
    text = made.study.read_text().replace("domains: [shop_mini]", "domains:\n" + JSONL).replace("[0.5]", "[]")
    for method in ("l2", "lora", "average", "flow", "talr"):
        text = re.sub(rf"  {method}: .*\n", "", text)
    made.study.write_text(text)
    for name, lines in (("train", TICKETS[:6]), ("test", TICKETS[4:])):
        (made.folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made.study.write_text(text.replace("train: 6, test: 4", "train: all, test: all"))
    made.snakemake()
    assert made.jobs() == set()
    (made.folder / "train.jsonl").touch()
    (made.folder / "test.jsonl").touch()
    assert made.jobs() == set()
    run = "tickets/sft/lr=1e-03/seed=0"
    evaluation = "evaluate tickets/lr=1e-03/seed=0"
    training = {"draw tickets/train", "encode tickets", f"train {run}", evaluation, *REPORT}
    more = json.dumps({"prompt": "9 + 9?", "response": "18"})
    with _edited(made.folder / "train.jsonl", lambda lines: f"{lines}\n{more}"):
        assert made.jobs() == training
    with _edited(made.folder / "test.jsonl", lambda lines: f"{lines}\n{more}"):
        assert made.jobs() == training | {"draw tickets/test", "evaluate_base tiny"}
    with _edited(made.study, lambda lines: lines.replace("test: test.jsonl", "test: test.jsonl, max_new_tokens: 9")):
        assert made.jobs() == {"evaluate_base tiny", evaluation, *REPORT}


def scaled_base(tree: Finished) -> None:
    """Other weights in the same file."""
    file = tree.folder / "base/model.safetensors"
    save_file({name: 1.5 * weight for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})


def edited(file: str, old: str, new: str) -> Callable[[Finished], None]:
    def edit(tree: Finished) -> None:
        text = (tree.folder / file).read_text()
        assert old in text
        (tree.folder / file).write_text(text.replace(old, new, 1))

    return edit


CHANGES = {
    "an average scaled by 0": edited("src/tradeoff/methods/average.py", "scaled(self.alpha)", "scaled(0.0)"),
    "the base's weights in place": scaled_base,
    "the base's chat template in place": edited("base/chat_template.jinja", "{% for m", "Talk:\n{% for m"),
    "a scorer's code, not its scores": edited(
        "src/tradeoff/domains/shop_mini.py", "import annotations", "import annotations\n\nX = 1"
    ),
    "a system prompt of the evaluation": edited("smoke.yaml", "{items: 3", '{system_prompt: "Be brief.", items: 3'),
    "what is trained on": edited("smoke.yaml", "train: 6", "train: 7"),
    "one benchmark less": edited("smoke.yaml", "[arithmetic_mini, base_text]", "[arithmetic_mini]"),
    "another version of a package": lambda tree: installed(tree, "lm_eval", "99.9"),
}


def installed(tree: Finished, name: str, version: str) -> None:
    """As Python finds the version of a package that is installed."""
    folder = tree.folder / "src" / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def of_two_methods(folder: Path, model: Path) -> Finished:
    """A tree with its own base, not yet run."""
    folder.mkdir(exist_ok=True)
    made = Finished(folder, model)
    shutil.copytree(model / MODEL, folder / "base")
    text = made.study.read_text().replace(f"folder:{model / MODEL}", "folder:base")
    text = text.replace("ifeval_mini, ", "").replace("[0.5]", "[]")
    for method in ("l2", "lora", "flow", "talr"):
        text = re.sub(rf"  {method}: .*\n", "", text)
    made.study.write_text(text)
    return made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Finished:
    made = of_two_methods(tmp_path_factory.mktemp("small"), tiny_base)
    made.snakemake()
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_tables_are_those_of_a_study_made_anew(
    small: Finished, tiny_base: Path, tmp_path: Path, change: str
) -> None:
    """Really run: what was kept from before the change has no part in any value."""
    again, anew = small.copied(tmp_path / "again"), of_two_methods(tmp_path / "anew", tiny_base)
    for tree in (again, anew):
        CHANGES[change](tree)
        if change == "another version of a package":  # no job runs for that alone
            tree.snakemake("--forcerun", "evaluate", "evaluate_base")
        else:
            tree.snakemake()
    found, expected, before = (tables(tree.results) for tree in (again, anew, small))
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert (found["samples"] == before["samples"]) == (change == "a scorer's code, not its scores")


def test_an_average_of_nothing_is_the_base(small: Finished, tmp_path: Path) -> None:
    tree = small.copied(tmp_path / "tree")
    CHANGES["an average scaled by 0"](tree)
    tree.snakemake()
    table = pd.read_parquet(tree.results / "tables/tradeoff.parquet").set_index("method")
    assert pd.read_parquet(small.results / "tables/tradeoff.parquet").set_index("method")["base_text"]["average"] != 0
    assert table.loc["average", ["base_text", "delta_norm", "domain_change", "general_change"]].tolist() == [0] * 4


def test_scores_under_two_versions_of_a_package_are_not_compared(small: Finished, tmp_path: Path) -> None:
    tree = small.copied(tmp_path / "tree")
    installed(tree, "lm_eval", "99.9")
    with_l2 = tree.study.read_text().replace("  average:", "  l2: {recipe: l2, strength: 0.01}\n  average:")
    tree.study.write_text(with_l2)
    done = tree.run()
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert re.search(r"packages is '[^']*' for base and '[^']*lm_eval 99\.9[^']*' for \w+; .* run again", told), told
    for file in (tree.folder / "results").rglob("samples.parquet"):
        if file.parent.name != "tables":
            file.unlink()  # as the line says
    tree.snakemake()
    found = pd.read_parquet(tree.results / "tables/samples.parquet")["packages"]
    assert found.str.contains("lm_eval 99.9").all()


def test_the_smoke_study_is_the_one_that_the_matrix_is_written_for() -> None:
    assert all(f"  {method}:" in STUDY for method in METHODS)
