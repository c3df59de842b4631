"""Llamas and drafts with random weights: what a step costs depends on their sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from proposers.glide.config import GlideConfig

SHAPES = {
    "llama-3-8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 65536,
    },
    "tiny": {
        "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 4096,
        "max_position_embeddings": 65536,
    },
}  # fmt: skip
"""By name; the first is the model's of that name, the other is for trying things out."""


def random_draft(glide: GlideConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of a draft: normal numbers, and the first tokens as its vocabulary."""
    import torch

    from proposers.glide.checkpoint import VOCABULARY, expected_shapes

    shapes = expected_shapes(glide)
    tokens = shapes.pop(VOCABULARY, None)
    state = {name: (torch.randn(shape) * 0.02).to(dtype) for name, shape in shapes.items()}
    return state if tokens is None else {**state, VOCABULARY: torch.arange(tokens.numel())}
