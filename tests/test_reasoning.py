"""Reasoning apart from the answer: every model's marks, what never ends, and that scorers read the answer alone."""

import pytest
import tiny
from tokenizers import AddedToken

from tradeoff.evaluation.lm import response_of
from tradeoff.models.chat import Chat
from tradeoff.models.reasoning import CHANNELS, MARKS, Separated, opening, separate

HARMONY = "<|channel|>analysis<|message|>Two and two.<|end|><|start|>assistant<|channel|>final<|message|>Four."
MUSE = " to=self<|message|>Two and two.<|eom|><|start|>assistant to=user<|message|>Four."
TOLD = Separated("Two and two.", "Four.")


@pytest.mark.parametrize(("opens", "closes"), MARKS)
def test_a_block_is_reasoning_and_what_follows_is_the_answer(opens, closes):
    assert separate(f"{opens}\nTwo and two.\n{closes}\n\nFour.") == TOLD
    assert separate(f"{opens}Two and two.{closes}Four.") == TOLD
    assert separate(f"Two and two.\n{closes}\n\nFour.", opened=opens) == TOLD
    assert separate(f"Two and two.{closes}Four.") == TOLD  # a prompt of a kind that is not known had opened it
    assert separate(f"{opens}\n\n{closes}\n\nFour.") == Separated("", "Four.")
    assert separate(f"{opens}a{closes}b{opens}Two and two.{closes}Four.").answer == "Four."
    assert opening(f"<|im_start|>assistant\n{opens}\n") == opens


@pytest.mark.parametrize("text", [HARMONY, MUSE])
def test_all_before_the_final_channel_is_reasoning(text):
    assert separate(text) == TOLD


def test_a_final_channel_alone_has_no_reasoning():
    assert separate("<|channel|>final<|message|>Four.") == Separated(None, "Four.")


@pytest.mark.parametrize(("opens", "closes"), [*MARKS, *CHANNELS])
def test_reasoning_that_never_ends_has_no_answer(opens, closes):
    found = separate(f"{opens}Two and two, and two")
    assert (found.answer, found.finished) == ("", False)
    assert "Two and two, and two" in found.reasoning


@pytest.mark.parametrize("text", ["Four.", "The tag <think> opens a block.", "", "a < b", "to=user"])
def test_a_response_without_reasoning_is_the_answer_as_it_is(text):
    assert separate(text) == Separated(None, text)
    assert opening(text) == ""


# As a model writes it


def thinking():
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    tokenizer.add_tokens([AddedToken(t, special=True) for t in ("<|channel|>", "<|message|>", "<|start|>", "<|end|>")])
    return Chat(tokenizer)


def written(chat, text, **options):
    return response_of(chat, chat.tokenizer(text)["input_ids"], **options)


def test_tokens_of_reasoning_and_answer_are_counted_apart():
    chat = thinking()
    found = written(chat, f"<think>ab</think>\n\nFour.{tiny.END}")
    assert (found.text, found.reasoning, found.truncated, found.unfinished) == ("Four.", "ab", False, False)
    assert (found.reasoning_tokens, found.answer_tokens) == (4, 7)  # with the marks, and two line ends
    found = written(chat, f"ab</think>Four.{tiny.END}", opened="<think>")
    assert (found.reasoning_tokens, found.answer_tokens) == (3, 5)
    found = written(chat, f"Four.{tiny.END}")
    assert (found.text, found.reasoning, found.reasoning_tokens, found.answer_tokens) == ("Four.", None, 0, 5)


def test_an_answer_in_channels_is_read_without_their_names():
    found = written(thinking(), HARMONY + tiny.END)
    assert (found.text, found.reasoning) == ("Four.", "Two and two.")
    assert found.answer_tokens == len("Four.")
    found = written(thinking(), "<|channel|>analysis<|message|>Two and")
    assert (found.text, found.unfinished, found.truncated, found.answer_tokens) == ("", True, True, 0)


def test_a_stop_string_counts_in_the_answer_alone():
    found = written(thinking(), "<think>Question: a\nb</think>Four.\nQuestion: more", until=("Question:",))
    assert (found.text, found.truncated) == ("Four.\n", False)
