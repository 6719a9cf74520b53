"""vLLM as the engine. Where it is installed, its answers are those of our own loop, result after result."""

import sys

import pytest
import tiny
from test_resident import runs  # noqa: F401
from test_store import evaluated, evaluator

from tradeoff import data, domains
from tradeoff.errors import UserError
from tradeoff.models.base import load_chat
from tradeoff.models.generation import Prompt, shared_opening
from tradeoff.models.on_vllm import OnVLLM, stopped
from tradeoff.models.resident import Resident


def test_without_vllm_the_line_says_what_to_do(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    examples = domains.kind("shop_mini")().examples("test", 3, 0, {})
    data.write(tmp_path / "data/shop_mini/test.jsonl", examples, {})
    with pytest.raises(UserError, match=r"evaluation\.engine: vllm is not installed here .* or remove the key"):
        evaluated(evaluator(tiny_base, tmp_path, evaluation={"items": 8, "engine": "vllm"}))


def test_an_answer_ends_with_the_token_that_completes_a_stop_string():
    prompt = Prompt([1], 9, stopped=lambda ids: 7 in ids)
    assert stopped([5, 6, 7, 8], prompt) == [5, 6, 7]
    assert stopped([5, 6], prompt) == [5, 6]


def test_vllm_writes_what_our_loop_writes_whatever_it_became(tiny_base, runs):  # noqa: F811
    pytest.importorskip("vllm", reason="vLLM is installed by those who want it: see docs/performance.md")
    chat, engine = load_chat(tiny_base), OnVLLM(tiny_base, "float32", load_chat(tiny_base))
    ids = [chat.prompt_ids(chat.prompt([{"role": "user", "content": text}])) for text in ("a", "b c", "hello")]
    prompts = [Prompt(one, 12, shared_opening(ids)) for one in ids]
    for run in (runs[0], None, runs[1]):
        engine.become(run)
        found, expected = {}, {}
        engine.generate(prompts, found.__setitem__)
        Resident.generate(engine, prompts, expected.__setitem__)
        assert found == expected
    assert tiny.END_ID in chat.ends
