"""Models and data of a study are brought to the caches, and then it needs no network; the hub is a stand-in."""

import json
from types import SimpleNamespace

import datasets
import pytest
import yaml
from huggingface_hub import constants

from tradeoff import prefetch, sources
from tradeoff.errors import UserError
from tradeoff.evaluation.harness import data
from tradeoff.study import load

MODEL, DATA = "a" * 40, "b" * 40
STUDY = {
    "study": "small",
    "models": {"big": {"source": "hub:owner/model", "revision": MODEL}, "here": {"source": "folder:somewhere"}},
    "domains": ["shop_mini"],
    "methods": {"sft": {"recipe": "sft"}},
    "learning_rates": ["1e-5"],
    "seeds": [0],
    "general": ["hellaswag", "mmlu_anatomy", "gsm8k", "ifeval_mini"],
    "data": {"train": 8, "test": 3},
    "training": {"epochs": 1, "batch_size": 2},
    "evaluation": {"items": 8},
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What was asked of the hub."""
    asked = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def dataset_info(self, path, revision=None):
        asked.append(("revision", path, revision))
        return SimpleNamespace(sha=DATA)

    def load_dataset(path, name=None, **options):
        asked.append(("data", path, name, options))
        rows = datasets.Dataset.from_list([{"text": "x"}])
        return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test", "dev"), rows))

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)

    def download(kind):
        return lambda *named, revision, **_: asked.append((kind, *named, revision)) or str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download("model"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download("file"))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.fixture
def study(tmp_path):
    def write(**changes):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))
        return load(tmp_path / "study.yaml")

    return write


def test_everything_that_is_on_the_hub_is_asked_for_once_at_its_revision(hub, study):
    lines = list(prefetch.prefetch(study()))
    gsm8k = sources.registry()["gsm8k_test"]
    assert lines == [
        f"model big: hub:owner/model@{MODEL}",
        f"data gsm8k_test: openai/gsm8k@{gsm8k.revision}",
        f"data gsm8k_train: openai/gsm8k@{gsm8k.revision}",
        f"benchmark hellaswag: Rowan/hellaswag@{DATA}",
        f"benchmark mmlu_anatomy: cais/mmlu@{DATA}",
    ]
    assert [call for call in hub if call[0] in ("model", "data")] == [
        ("model", "owner/model", MODEL),
        ("data", "Rowan/hellaswag", None, {"revision": DATA}),
        ("data", "cais/mmlu", "anatomy", {"revision": DATA}),
    ]


def test_a_data_set_that_a_domain_names_is_brought_too(study, monkeypatch):
    asked = []

    def load_dataset(repository, config, *, split, revision):
        asked.append((repository, config, split, revision))
        return datasets.Dataset.from_list([{"prompt": "x", "response": "y"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    place = f"hub:owner/tickets@{DATA}"
    domain = {"domain": "custom", "train": place, "test": 0.5}
    models = {"here": {"source": "folder:somewhere"}}
    lines = list(prefetch.prefetch(study(models=models, domains={"own": domain}, general=["ifeval_mini"])))
    assert lines == [f"data hub:owner/tickets, split train: {DATA}"]
    assert asked == [("owner/tickets", None, "train", DATA)]


def test_then_the_study_passes_off_the_network_and_reads_the_commit_that_was_brought(hub, study, monkeypatch, tmp_path):
    made = study(general=["hellaswag", "ifeval_mini"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"general\.hellaswag: reads the hub data set Rowan/hellaswag, which is not on"):
        made.check_files()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    list(prefetch.prefetch(made))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made.check_files()
    hub.clear()
    known = made.benchmarks()["hellaswag"]
    data.fetch(known, None, tmp_path / "hellaswag.json")
    assert hub == [("data", "Rowan/hellaswag", None, {"revision": DATA})], "nobody is asked which commit it is"
    assert json.loads((tmp_path / "hellaswag.json").read_text())["sources"][0]["revision"] == DATA
    assert data.version(tmp_path / "hellaswag.json") == f"Rowan/hellaswag@{DATA[:12]}"


def test_what_lies_under_a_data_root_is_left_alone_and_the_rest_is_brought(hub, study, tmp_path):
    (tmp_path / "root/Rowan/hellaswag").mkdir(parents=True)
    made = study(data_root=str(tmp_path / "root"), general=["hellaswag", "mmlu_anatomy"])
    lines = list(prefetch.prefetch(made))
    assert lines[1:] == [
        "benchmark hellaswag: Rowan/hellaswag: on this machine",
        f"benchmark mmlu_anatomy: cais/mmlu@{DATA}",
    ]
    assert [call[1] for call in hub if call[0] == "data"] == ["cais/mmlu"]


def test_a_revision_that_a_task_file_pins_is_the_one_that_is_read(hub, study, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/pinned.yaml").write_text(
        "task: pinned\ndataset_path: owner/data\ndataset_kwargs: {revision: v2}\noutput_type: loglikelihood\n"
        "test_split: test\ndoc_to_text: text\ndoc_to_target: text\n"
    )
    list(prefetch.prefetch(study(general=["pinned"], include=str(tmp_path / "own"))))
    assert ("revision", "owner/data", "v2") in hub
    assert (tmp_path / "cache/datasets--owner--data/refs/v2").read_text() == DATA
    assert hub[-1] == ("data", "owner/data", None, {"revision": DATA})
