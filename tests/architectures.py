"""Tiny random language models of many architectures, every parameter random: biases and norms hide nothing."""

from __future__ import annotations

from typing import Any

import torch

SIZE = {"vocab_size": 640, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODERN = {
    **SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
GEMMA = {**MODERN, "head_dim": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
WIDE = {**MIXED, "sliding_window": 512}
OLDER = {**SIZE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
FALCON = {**SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
LONG_ROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 128,
}  # fmt: skip

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**MODERN, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {**MODERN, "sliding_window": None}),
    "mistral_window": ("mistral", {**MODERN, "sliding_window": 16}),
    "qwen2": ("qwen2", MODERN),
    "qwen2_window": ("qwen2", {**MODERN, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
    "qwen3": ("qwen3", {**MODERN, "head_dim": 8, "attention_bias": True}),
    "phi": ("phi", {**MODERN, "qk_layernorm": True}),
    "phi3": ("phi3", {**MODERN, "sliding_window": None}),
    "phi3_window": ("phi3", {**MODERN, "sliding_window": 16}),
    "phi3_long": ("phi3", {**MODERN, "original_max_position_embeddings": 128, "rope_parameters": LONG_ROPE}),
    "gemma": ("gemma", GEMMA),
    "gemma2": ("gemma2", {**GEMMA, **MIXED, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0}),
    "gemma3": ("gemma3_text", {**GEMMA, **MIXED, "query_pre_attn_scalar": 8}),
    "gemma2_wide": ("gemma2", {**GEMMA, **WIDE, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0}),
    "gemma3_wide": ("gemma3_text", {**GEMMA, **WIDE, "query_pre_attn_scalar": 8}),
    "gpt2": ("gpt2", OLDER),
    "gpt_neo": (
        "gpt_neo",
        {**SIZE, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 512,
         "attention_types": [[["global", "local"], 1]], "window_size": 16},
    ),
    "gpt_neo_wide": (
        "gpt_neo",
        {**SIZE, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 512,
         "attention_types": [[["global", "local"], 1]], "window_size": 512},
    ),
    "gpt_neox": ("gpt_neox", {**MODERN, "use_parallel_residual": True}),
    "gptj": ("gptj", {**OLDER, "rotary_dim": 4}),
    "opt": (
        "opt",
        {**SIZE, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 512, "word_embed_proj_dim": 32},
    ),
    "bloom": ("bloom", {**SIZE, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("falcon", {**FALCON, "alibi": False}),
    "falcon_alibi": ("falcon", {**FALCON, "alibi": True}),
    "mpt": ("mpt", {**SIZE, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512}),
    "olmo2": ("olmo2", MODERN),
    "cohere": ("cohere", {**MODERN, "logit_scale": 0.3, "use_qk_norm": True}),
    "granite": ("granite", {**MODERN, "logits_scaling": 5.0, "embedding_multiplier": 3.0}),
    "stablelm": ("stablelm", {**MODERN, "use_qkv_bias": True}),
    "codegen": ("codegen", {**OLDER, "rotary_dim": 4}),
}  # fmt: skip
"""By name: transformers' model type and what its configuration is given. Windows are shorter than the sequences."""


def built(name: str, **settings: Any) -> Any:
    """Return a model with every parameter drawn anew: matrices small, the rest of about one."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, values = ARCHITECTURES[name]
    config = AutoConfig.for_model(kind, **{**values, **settings})
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.25 if parameter.ndim > 1 else 0.7)
    return model.eval()
