"""Public chat templates, as the package trl ships them, each with a tokenizer that has the tokens it writes."""

import importlib.util
import re
from pathlib import Path

import tiny
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

(PACKAGE,) = importlib.util.find_spec("trl").submodule_search_locations
FOLDER = Path(PACKAGE) / "chat_templates"
# Variants with `{% generation %}` for other trainers, of templates that are here too.
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja") if not path.stem.endswith("_training"))
SPECIAL = re.compile(
    r"<\|[^<>|\s]{1,30}\|>|<｜[^<>｜]{1,30}｜>|<\|?(?:start_of_|end_of_)?turn\|?>|<\|?channel\|?>|</?s>"
)
SPECIAL = re.compile(f"{SPECIAL.pattern}|<end_of_utterance>|<[|]think[|]>")
# The end token of models with that template, where it is none of ChatML.
ENDS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "diffusion_gemma": "<turn|>",
    "gemma3": "<end_of_turn>",
    "gemma4": "<turn|>",
    "gemma": "<end_of_turn>",
    "glm": "<|endoftext|>",
    "gptoss": "<|return|>",
    "idefics": "<end_of_utterance>",
    "smolvlm": "<end_of_utterance>",
    "llama": "<|eot_id|>",
    "llava": "</s>",
    "muse": "<|eot|>",
    "phi": "<|endoftext|>",
}


def template(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a template, the special tokens in it, and the end token of its models."""
    text = template(name)
    written = {*SPECIAL.findall(text), *(mark for mark in ("<think>", "</think>") if mark in text)}
    made = tiny.tokenizer(text, eos=tiny.TEXT_END)
    end = next((end for begin, end in ENDS.items() if name.startswith(begin)), tiny.END)
    for token in sorted({*written, end} - set(tiny.SPECIAL)):
        # The marks of reasoning are ordinary added tokens in most tokenizers.
        special = "think>" not in token or token == "<|think|>"
        made.add_tokens([AddedToken(token, special=special, normalized=False)], special_tokens=special)
    made.bos_token, made.eos_token, made.pad_token = tiny.BEGIN, end, end
    return made
