"""`config/paper.yaml` on tiny random models of its three architectures with their public templates: `make grid`.

All four domains, distillation by a teacher included, and all methods; one rate, one seed, little data, short answers.
"""

import json

import families
import pytest
import templates
import tiny
import yaml
from test_airgapped import files, tree  # noqa: F401
from test_esci import joined
from test_metamath import TRAIN
from test_smoke import ROOT

from tradeoff.domains import Example
from tradeoff.models.base import load_base, load_chat, load_parameters
from tradeoff.models.chat import Settings
from tradeoff.models.import_base import import_base
from tradeoff.provenance import CARD, read_json, write_json
from tradeoff.tables import schemas

pytestmark = pytest.mark.slow

# Of each model in the study, its architecture and its public template.
KINDS = {
    "qwen2.5-3b-instruct": ("qwen2", "qwen2_5"),
    "qwen3-4b": ("qwen3", "qwen3"),
    "gemma3-4b": ("gemma3", "gemma3"),
}
TEACHER = "qwen3-32b"
SAID = "It is.\nAnswer: Exact"


def model_folder(folder, family, template):
    tokenizer = templates.tokenizer(template)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 16384, "sliding_window": 512}
    sizes |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    families.model(family, **sizes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teacher_folder(folder):
    """A model that was taught to say one thing, which is right for some questions."""
    source = model_folder(folder / "source", "qwen3", "qwen3")
    settings = Settings(arguments={"enable_thinking": False})
    write_json(folder / "base" / CARD, import_base(f"folder:{source}", None, folder / "base", settings))
    chat, model = load_chat(folder / "base"), load_base(folder / "base")
    asked = [f"Question {n}? " + "A text that is long. " * (n % 5) for n in range(32)]
    examples = [Example(str(n), ({"role": "user", "content": text},), SAID, {}) for n, text in enumerate(asked)]
    options = {"epochs": 40, "batch_size": 8, "parameters": load_parameters(folder / "base")}
    steps = tiny.fit({"recipe": "sft"}, [chat.encode(e) for e in examples], 1e-2, model, **options).steps
    assert steps[-1].nll < 0.01
    model.save_pretrained(folder / "taught")
    chat.tokenizer.save_pretrained(folder / "taught")
    return folder / "taught"


@pytest.fixture
def study(tmp_path, tree, files):  # noqa: F811
    """The study's file in a tree, on tiny models and data."""
    content = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    for name, (family, template) in KINDS.items():
        known = content["models"][name]
        known["source"] = f"folder:{model_folder(tmp_path / name, family, template)}"
        del known["revision"], known["parameters"]
    known = content["teachers"][TEACHER]
    known["source"] = f"folder:{teacher_folder(tmp_path / TEACHER)}"
    del known["revision"], known["parameters"]
    for domain in content["domains"].values():
        if domain["domain"] != "esci":
            domain["max_new_tokens"] = 40
    content["learning_rates"], content["seeds"] = content["learning_rates"][-1:], content["seeds"][:1]
    content["general"] = {name: {"max_new_tokens": 12} for name in content["general"]}
    content["general"]["gsm8k"]["num_fewshot"] = 2
    content["data"] = {"train": 3, "test": 4}
    content["training"] |= {"epochs": 1, "batch_size": 2, "compile": False, "max_length": 8192}
    content["evaluation"] |= {"items": 2}
    content["study"] = "smoke"
    tree.study.write_text(yaml.safe_dump(content, sort_keys=False))
    (files / "esci").mkdir()
    joined().to_parquet(files / "esci/examples.parquet")
    (files / "metamath").mkdir()
    (files / "metamath/MetaMathQA-395K.json").write_text(json.dumps(TRAIN))
    return content


def test_the_paper_s_grid_runs_from_end_to_end(study, tree, files):  # noqa: F811
    tree.patience = 3600
    tree.snakemake("--config", f"data_root={files}")
    table = schemas.read(tree.results / "tables/tradeoff.parquet")
    rows = len(study["domains"]) * (1 + len(study["methods"]))
    assert table.groupby("model").size().to_dict() == dict.fromkeys(KINDS, rows)
    assert table["domain_code_length"].notna().all()
    norms = table[table["method"] != "base"].set_index(["model", "domain", "method"])["delta_norm"]
    assert (norms > 0).all()

    teacher = read_json(tree.results / "data/esci_cot/train.json")
    assert 0 < teacher["acceptance_rate"] < 1
    tested = read_json(tree.results / "data/esci_cot/test.json")
    assert tested["examples"] == study["data"]["test"]
    assert 0 < tested["acceptance_rate"] < 1
    lines = (tree.results / "data/esci_cot/train.jsonl").read_text().splitlines()
    assert all(json.loads(line)["response"].endswith("Exact") for line in lines)

    for name, (family, _) in KINDS.items():
        card = read_json(tree.results / f"models/{name}/card.json")
        assert card["not_trained"] == (
            ["model.multi_modal_projector.", "model.vision_tower."] if family == "gemma3" else []
        )
        assert card["chat"]["sample"]["target"].startswith("Yes.<")
    assert "thinking" not in read_json(tree.results / "models/gemma3-4b/card.json")["chat"]["arguments"]
    prompts = schemas.read(tree.results / "tables/samples.parquet").query(
        "model == 'qwen3-4b' and benchmark == 'esci'"
    )["prompt"]
    assert prompts.str.endswith("<think>\n\n</think>\n\n").all()
    assert (tree.results / "report.html").stat().st_size > 100_000
