"""Tiny models, tokenizers and data of the tests, built in code: seeded, no network, the same on every machine."""

import os
import random
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from tradeoff import methods
from tradeoff.models.import_base import import_base
from tradeoff.provenance import CARD, write_json
from tradeoff.training.loop import Result, train
from tradeoff.training.settings import Training
from tradeoff.training.tokens import Sequence

if "ON_GPU" not in os.environ:  # make gpu
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # sums in the same order on every machine

BEGIN, START, END, PAD, TEXT_END = "<s>", "<|im_start|>", "<|im_end|>", "<pad>", "<|endoftext|>"
SPECIAL = (BEGIN, START, END, PAD, TEXT_END)
TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
CHATML = TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
BARE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
VOCABULARY = 256 + len(SPECIAL)
END_ID = 256 + SPECIAL.index(END)
PAD_ID = 256 + SPECIAL.index(PAD)


def tokenizer(
    template: str | None = CHATML,
    eos: str = END,
    begins: bool = False,
    merges: tuple[tuple[str, str], ...] = (),
    **options: object,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: 256 bytes, the special tokens, then `merges`; pad is eos.

    Args:
        template: Chat template, or None.
        eos: End token.
        begins: Whether the tokenizer has a begin token and puts it in front by itself.
        merges: Pairs of byte-level symbols that become one token.
        options: For the tokenizer's constructor.
    """
    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {"".join(pair): VOCABULARY + i for i, pair in enumerate(merges)}
    vocabulary |= {token: 256 + i for i, token in enumerate(SPECIAL)}
    inner = Tokenizer(models.BPE(vocabulary, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    if begins:
        single = f"{BEGIN} $A"
        inner.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} $B", special_tokens=[(BEGIN, vocabulary[BEGIN])]
        )
        options["bos_token"] = BEGIN
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos, pad_token=eos, **options)
    made.chat_template = template
    return made


def model(
    seed: int = 0, std: float = 0.2, tied: bool = True, pad_id: int | None = None, head_dim: int = 16
) -> LlamaForCausalLM:
    """A Llama of 30,000 weights drawn from N(0, std), float32, in evaluation mode."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=head_dim,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=pad_id,
    )
    made = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, std, generator=generator)
    return made


def base_folder(folder: Path, of: PreTrainedModel | None = None) -> Path:
    """A base model, the tiny one or another with its tokenizer, as the pipeline imports it; returns its folder."""
    (of or model(pad_id=END_ID)).save_pretrained(folder / "source")
    tokenizer().save_pretrained(folder / "source")
    base = folder / "base"
    write_json(base / CARD, import_base(f"folder:{folder / 'source'}", None, base))
    return base


def sequences(count: int = 9, longest: int = 24, seed: int = 0, masked: bool = False) -> list[Sequence]:
    """Random sequences of 4 to `longest` tokens, of which a part is prompt and, if asked for, some later tokens too."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        ids = tuple(draw.randrange(256) for _ in range(draw.randint(4, longest)))
        start = draw.randint(0, len(ids) - 2)
        later = range(max(start, 1), len(ids) - 1)
        places = sorted(draw.sample(later, len(later) // 2)) if masked else []
        found.append(Sequence(f"train-{number:05}", ids, start, tuple(places)))
    return found


def forget() -> None:
    """No settings of an earlier Accelerator, such as its precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    PartialState._reset_state()


def parameters_of(of: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A float32 copy of all parameters, as `models.load_parameters` gives them."""
    return {name: p.detach().float().clone() for name, p in of.named_parameters()}


def base_nll(of: torch.nn.Module, data: list[Sequence]) -> torch.Tensor:
    """Mean nll of each sequence, as `base_nll.read_means` gives it."""
    from tradeoff.training.base_nll import token_losses

    return torch.stack([nll.mean() for nll in token_losses(of, data, 0, 10_000, "float32", "base losses")])


def fit(
    spec: dict[str, object] | methods.Method,
    data: list[Sequence] | None = None,
    rate: float = 1e-3,
    base: PreTrainedModel | None = None,
    parameters: dict[str, torch.Tensor] | None = None,
    **training: object,
) -> Result:
    """Trains the tiny model by a method, as `training.train` does."""
    method = spec if isinstance(spec, methods.Method) else methods.build(spec)
    data = sequences() if data is None else data
    base = model() if base is None else base
    settings = Training.model_validate({"epochs": 1, "batch_size": 4, "batch_tokens": 10_000, **training})
    start = parameters_of(base) if parameters is None else parameters
    easy = base_nll(base, data) if "base_nll" in method.needs else None
    return train(base, data, method, settings, rate, 0, END_ID, start, easy)
