"""What a draft starts from: the target's own layers, noise, or another draft."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ...glide.checkpoint import VOCABULARY, load_glide
from ...glide.config import GlideConfig
from ...glide.layer import Block, GlideLayer
from ..target import TargetWeights
from .data import FeatureFolder
from .settings import TrainSettings

SOURCES = {"first_last": ("first", "last"), "last": ("last", "last"), "first": ("first", "first")}
"""Layer of the target that self-attention comes from, and the one that the rest comes from."""
NORMS = {
    "post_self_attention_layernorm": "input_layernorm",
    "post_cross_attention_layernorm": "post_attention_layernorm",
}
"""The target's norm in front of what follows ours: attention, and the MLP."""


def start(
    settings: TrainSettings, weights: TargetWeights, data: FeatureFolder
) -> tuple[GlideConfig, GlideLayer, Tensor | None]:
    """Config, layer (float32) and vocabulary ``[Vd]`` (None is the whole one) of a new run."""
    if settings.init is not None:
        return _from_draft(settings.init, settings, weights)
    shape = weights.shape(settings.target_name)
    size = settings.draft_vocab if 0 < settings.draft_vocab < shape.vocab_size else None
    vocabulary = None
    if size is not None:
        vocabulary = data.answer_counts(shape.vocab_size).topk(size).indices.sort().values
    config = GlideConfig(
        target=shape,
        window=settings.window,
        num_layers=settings.layers,
        draft_vocab_size=size,
        final_norm=settings.final_norm,
        hidden_state_input=settings.hidden_state_input,
        attention_bias="model.layers.0.self_attn.q_proj.bias" in weights.files,
        max_lag=len(settings.lag_weights),
        longspec_config=settings.serve,
    )
    torch.manual_seed(settings.seed)
    layer = GlideLayer(config)
    if settings.initial == "random":
        _randomise(layer)
    else:
        initialise(layer, weights, *SOURCES[settings.initial])
    return config, layer, vocabulary


def initialise(layer: GlideLayer, target: TargetWeights, first: str, rest: str) -> None:
    """Copy the target's layers ``first`` or ``last`` into each block.

    The draft's self-attention reads embeddings, as the target's first layer does; its
    cross-attention reads the last layer's cache, as the last layer's own queries do. In a second
    block all comes from ``rest``: what it reads has been through a layer already.
    """
    layers = {"first": 0, "last": target.config["num_hidden_layers"] - 1}
    for block in layer.blocks():
        own = first if block.index == 0 else rest
        _fill(block, target, f"model.layers.{layers[own]}.", f"model.layers.{layers[rest]}.")


@torch.no_grad()
def _fill(block: Block, target: TargetWeights, own: str, rest: str) -> None:
    for name, parameter in block.named_parameters():
        module, _, tail = name.partition(".")
        if module in ("self_attn", "input_layernorm"):
            source = own + name
        elif module == "cross_attn":
            source = f"{rest}self_attn.{tail}"
        else:
            source = f"{rest}{NORMS.get(module, module)}.{tail}"
        if source in target.files:
            parameter.copy_(target[source])
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)


def _randomise(layer: GlideLayer) -> None:
    """Matrices of deviation 0.02, as transformers are commonly begun; no biases."""
    for name, parameter in layer.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim > 1 and "hidden_proj" not in name:
            nn.init.normal_(parameter, std=0.02)


def _from_draft(
    draft: Path, settings: TrainSettings, weights: TargetWeights
) -> tuple[GlideConfig, GlideLayer, Tensor | None]:
    found, state = load_glide(draft)
    shape = weights.shape(settings.target_name)
    sizes = {**shape.sizes(), "intermediate_size": shape.intermediate_size, "rope": shape.rope}
    for name, ours in sizes.items():
        theirs = getattr(found.target, name)
        own = name == "rope" and found.served_rope
        if ours != theirs and name != "max_position_embeddings" and not own:
            raise ValueError(
                f"init={draft} was trained for a target with {name}={theirs}, this one has {ours};"
                " choose a draft of this target, or none"
            )
    changed = {"target": shape, "served_rope": False, "max_lag": len(settings.lag_weights)}
    config = serving(found.model_copy(update=changed), settings)
    vocabulary = state.pop(VOCABULARY, None)
    layer = GlideLayer(config)
    layer.load_state_dict(state)
    return config, layer, vocabulary


def serving(found: GlideConfig, settings: TrainSettings) -> GlideConfig:
    """A draft's config with the tree that was asked for, else with its own."""
    if "serve" in settings.model_fields_set or not found.longspec_config:
        return found.model_copy(update={"longspec_config": settings.serve})
    return found
