"""Tiny random models of the architectures that people fine-tune, with windows of 8 tokens, experts and odd heads."""

from pathlib import Path
from typing import Any

import tiny
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Mistral3ForConditionalGeneration,
    PreTrainedModel,
    Qwen3VLForConditionalGeneration,
)

WINDOW = 8
SIZES: dict[str, Any] = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": tiny.END_ID,
    "pad_token_id": tiny.END_ID,
}
GPT: dict[str, Any] = {"vocab_size": tiny.VOCABULARY, "bos_token_id": None, "eos_token_id": tiny.END_ID}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_expand": 2}
GEMMA = {**SIZES, "head_dim": 8, "query_pre_attn_scalar": 8}
TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SIZES),
    "mistral": ("mistral", {**SIZES, "sliding_window": WINDOW}),
    "mixtral": ("mixtral", {**SIZES, **LOCAL_EXPERTS}),
    "qwen2": ("qwen2", {**SIZES, **QWEN_WINDOW}),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 8, **QWEN_WINDOW}),
    "qwen3_moe": ("qwen3_moe", {**SIZES, "head_dim": 8, **EXPERTS}),
    "qwen3_5": ("qwen3_5_text", {**SIZES, "head_dim": 8, **LINEAR}),
    "qwen3_next": ("qwen3_next", {**SIZES, "head_dim": 8, **LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16}),
    "gemma2": ("gemma2", {**GEMMA, **SLIDING, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0}),
    "gemma3_text": ("gemma3_text", {**GEMMA, **SLIDING}),
    "gemma3": (
        "gemma3",
        {
            "text_config": {**GEMMA, **SLIDING},
            "vision_config": {**TOWER, "image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 1,
            "boi_token_index": 253,
            "eoi_token_index": 254,
            "image_token_index": 255,
            "pad_token_id": tiny.END_ID,
        },
    ),
    "mistral3": (
        "mistral3",
        {
            "text_config": {**SIZES, "model_type": "mistral", "sliding_window": WINDOW},
            "vision_config": {**TOWER, "model_type": "pixtral", "head_dim": 8, "image_size": 28, "patch_size": 14},
            "image_token_index": 255,
        },
    ),
    "qwen3_vl": (
        "qwen3_vl",
        {
            "text_config": {
                **SIZES,
                "head_dim": 8,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
            },
            "vision_config": {
                "depth": 1,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_heads": 2,
                "out_hidden_size": 32,
                "patch_size": 4,
                "deepstack_visual_indexes": [0],
                "num_position_embeddings": 16,
            },
            "image_token_id": 252,
            "video_token_id": 253,
            "vision_start_token_id": 254,
            "vision_end_token_id": 255,
        },
    ),
    "phi3": ("phi3", SIZES),
    "olmo2": ("olmo2", SIZES),
    "granite": ("granite", {**SIZES, "logits_scaling": 8.0, "embedding_multiplier": 2.0}),
    "granitemoehybrid": (
        "granitemoehybrid",
        {
            **SIZES,
            **LOCAL_EXPERTS,
            **MAMBA,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 16,
            "logits_scaling": 4.0,
        },
    ),
    "cohere": ("cohere", SIZES),
    "cohere2": ("cohere2", {**SIZES, **SLIDING}),
    "smollm3": ("smollm3", {**SIZES, "no_rope_layers": [1, 0]}),
    "glm4": ("glm4", {**SIZES, "head_dim": 8}),
    "lfm2": (
        "lfm2",
        {**SIZES, "layer_types": ["conv", "full_attention"], "block_ff_dim": 64, "block_auto_adjust_ff_dim": False},
    ),
    "falcon_h1": (
        "falcon_h1",
        {**SIZES, **MAMBA, "head_dim": 8, "mamba_d_head": 8, "mamba_d_ssm": 32, "lm_head_multiplier": 0.5},
    ),
    "gpt_oss": ("gpt_oss", {**SIZES, "head_dim": 8, **LOCAL_EXPERTS, **SLIDING}),
    "llama4": (
        "llama4_text",
        {
            **SIZES,
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 64,
            "attention_chunk_size": WINDOW,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
    ),
    "falcon": ("falcon", {**SIZES, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False}),
    "gpt_neo": (
        "gpt_neo",
        {
            **GPT,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 512,
        },
    ),
    "gpt_neox": ("gpt_neox", SIZES),
    "gpt2": ("gpt2", {**GPT, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}),
}


MULTIMODAL = {"mistral3": Mistral3ForConditionalGeneration, "qwen3_vl": Qwen3VLForConditionalGeneration}


def config(name: str, **changes: Any) -> Any:
    """The configuration of a tiny model of a family; changes are of its text."""
    kind, options = CONFIGS[name]
    if "text_config" in options:
        return AutoConfig.for_model(kind, **{**options, "text_config": {**options["text_config"], **changes}})
    return AutoConfig.for_model(kind, **{**options, **changes})


def model(name: str, seed: int = 0, std: float = 0.2, **changes: Any) -> PreTrainedModel:
    """A model of a family with weights drawn from N(0, std), float32, in evaluation mode."""
    of = config(name, **changes)
    torch.manual_seed(seed)
    made = MULTIMODAL.get(name, AutoModelForCausalLM.from_config)(of).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, std, generator=generator)
    return made


def source(name: str, folder: Path, template: str | None = tiny.CHATML, **options: object) -> Path:
    """A model of a family as a person has it on a disk, in the layout of the hub; returns its folder."""
    model(name).save_pretrained(folder)
    tiny.tokenizer(template, **options).save_pretrained(folder)
    return folder
