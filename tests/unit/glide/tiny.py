"""A tiny random draft, target pieces and a dense target KV for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from proposers.base import TargetModel, TargetShape
from proposers.glide.checkpoint import VOCABULARY, expected_shapes, save_glide
from proposers.glide.config import GlideConfig, RotaryConfig, TargetConfig

VOCAB, HIDDEN, HEADS, KV_HEADS, DIM = 60, 48, 6, 2, 8


def tiny_config(**changes: object) -> GlideConfig:
    target = TargetConfig(
        name="tiny",
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=DIM,
        vocab_size=VOCAB,
        max_position_embeddings=512,
        rope=RotaryConfig(theta=1000.0),
    )
    values = {"target": target, "window": 16, "draft_vocab_size": 40, **changes}
    return GlideConfig(**values)  # type: ignore[arg-type]


def tiny_state(config: GlideConfig, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(shape, generator=generator) / max(shape[-1], 1) ** 0.5
        for name, shape in expected_shapes(config).items()
    }
    for name in state:
        if "layernorm" in name:
            state[name] = 1 + 0.1 * state[name]
    if config.draft_vocab_size is not None:
        order = torch.randperm(VOCAB, generator=generator)
        state[VOCABULARY] = order[: config.draft_vocab_size].sort().values
    return state


def tiny_draft(folder: Path, **changes: object) -> GlideConfig:
    config = tiny_config(**changes)
    save_glide(folder, config, tiny_state(config))
    return config


def tiny_target(seed: int = 1, dtype: torch.dtype = torch.float32) -> TargetModel:
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(VOCAB, HIDDEN, generator=generator).to(dtype)
    shape = TargetShape(VOCAB, HIDDEN, HEADS, KV_HEADS, DIM, 512)
    norm = 1 + 0.1 * torch.randn(HIDDEN, generator=generator).to(dtype)
    return TargetModel(shape, embedding, embedding, norm)


@dataclass
class DenseKV:
    """Last-layer K and V per request, ``[length, kv_heads, dim]`` each."""

    keys: list[Tensor]
    values: list[Tensor]

    def attend(self, query: Tensor) -> Tensor:
        out = torch.empty_like(query)
        for b, (k, v) in enumerate(zip(self.keys, self.values, strict=True)):
            groups = query.shape[2] // k.shape[1]
            wide_k, wide_v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            scores = torch.einsum("whd,shd->hws", query[b], wide_k) * DIM**-0.5
            out[b] = torch.einsum("hws,shd->whd", scores.softmax(-1), wide_v)
        return out
