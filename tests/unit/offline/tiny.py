"""Tiny random targets of every supported architecture, with drafts for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from proposers.glide.checkpoint import expected_shapes, save_glide
from proposers.glide.config import GlideConfig, TargetConfig

VOCAB = 64
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.6,  # wide logits: argmax hangs on no rounding
}


def tiny_target(folder: Path, kind: str = "llama", **changes: Any) -> Any:
    """Write a random target; returns its configuration."""
    torch.manual_seed(changes.pop("seed", 0))
    config = AutoConfig.for_model(kind, **{**SIZES, **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    _bias_noise(model)
    model.save_pretrained(folder)
    return config


def _bias_noise(model: Any) -> None:
    """Biases and norms start as zeros and ones, which would hide a mistake."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))


def tiny_draft(folder: Path, config: Any, seed: int = 0, **changes: Any) -> GlideConfig:
    """Write a random draft for that target."""
    target = TargetConfig.from_transformers(config.to_dict(), "tiny")
    draft = GlideConfig(target=target, **{"window": 16, **changes})
    save_glide(folder, draft, draft_state(draft, seed))
    return draft


def draft_state(config: GlideConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random weights, small behind the embedding: a draft that repeats its input is often right."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.ones(shape)
        if "layernorm" in name
        else 0.1 * torch.randn(shape, generator=generator)
        for name, shape in expected_shapes(config).items()
    }


def ragged_prompts(batch: int, seed: int, longest: int = 24) -> tuple[Tensor, list[int]]:
    """Random right-padded prompts ``[batch, longest]`` and their lengths, 1 or more."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCAB, (batch, longest), generator=generator)
    lengths = torch.randint(1, longest + 1, (batch,), generator=generator).tolist()
    for row, length in enumerate(lengths):
        ids[row, length:] = 0
    return ids, lengths
