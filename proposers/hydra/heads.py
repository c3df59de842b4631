"""What the heads of a Hydra start as: random, the target's last layers, or files' weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from .config import HydraConfig
from .weights import load_head

Heads = Literal["target", "random"] | Sequence[str | Path]


def make_heads(model: Any, config: HydraConfig, heads: Heads) -> nn.ModuleList:
    """``n_heads`` stacks of ``heads_depth`` decoder layers, each with weights of its own.

    Args:
        model: a causal language model of transformers.
        heads: "target" (the target's own last layers), "random" (initialised as transformers
            initialises the model, with torch's global generator), or one safetensors file a head.

    Raises:
        ValueError: in one line.
    """
    if isinstance(heads, str):
        if heads not in ("target", "random"):
            raise ValueError(f"heads={heads!r}: expected target, random or one file per head")
        make = _random_head if heads == "random" else _target_head
        return nn.ModuleList(make(model, config) for _ in range(config.n_heads))
    if len(heads) != config.n_heads:
        raise ValueError(
            f"{len(heads)} files of heads for n_heads={config.n_heads}; give one per head"
        )
    return nn.ModuleList(_file_head(model, config, Path(path)) for path in heads)


def _target_head(model: Any, config: HydraConfig) -> nn.ModuleList:
    return nn.ModuleList(copy.deepcopy(layer) for layer in _last(model, config))


def _random_head(model: Any, config: HydraConfig) -> nn.ModuleList:
    """New layers, not copies: transformers skips parameters that it has initialised before."""
    like = next(model.parameters())
    with torch.device(like.device):
        layers = [type(old)(model.config, old.self_attn.layer_idx) for old in _last(model, config)]
    head = nn.ModuleList(layers).to(like.dtype)
    return head.apply(model._init_weights)


def _file_head(model: Any, config: HydraConfig, path: Path) -> nn.ModuleList:
    head = _target_head(model, config)
    load_head(path, head, model.config.num_hidden_layers - config.heads_depth)
    return head


def _last(model: Any, config: HydraConfig) -> list[Any]:
    return list(model.base_model.layers)[-config.heads_depth :]
