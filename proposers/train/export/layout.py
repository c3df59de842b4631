"""Between our drafts and the published layout: 20 tensors and a Llama config.

Published drafts have one block, biases on q, k and v, no final norm, a window of 512 tokens and the
target's whole vocabulary. Their ``cross_attn.{k,v}_proj`` are used by nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...glide.checkpoint import UNUSED, VOCABULARY, expected_shapes
from ...glide.config import GlideConfig
from ...glide.speculators import layer_config
from ..target import TargetWeights

FIXED = {
    "hidden_state_input": (False, "--hidden-state-input false"),
    "final_norm": (False, "--final-norm false"),
    "num_layers": (1, "--layers 1"),
    "window": (512, "--window 512"),
}
"""What the published layout takes for granted, and how `train` is told so."""


def check_publishable(config: GlideConfig) -> None:
    """Refuse a draft that the published layout cannot hold.

    Raises:
        ValueError: in one line that names the option in the way.
    """
    values = {name: getattr(config, name) for name in FIXED}
    for name, (allowed, option) in FIXED.items():
        if values[name] != allowed:
            raise ValueError(
                f"{name}={values[name]}: the published layout has no place for it,"
                f" allowed: {allowed}; train with {option}, or keep --layout ours"
            )
    if config.draft_vocab_size not in (None, config.target.vocab_size):
        raise ValueError(
            f"draft_vocab_size={config.draft_vocab_size}: the published layout has no place for a"
            f" reduced vocabulary, allowed: {config.target.vocab_size}; train with --draft-vocab 0,"
            " or keep --layout ours"
        )


def published_state(
    config: GlideConfig, state: Mapping[str, Tensor], target: TargetWeights | None
) -> dict[str, Tensor]:
    """The 20 tensors; what the draft does not have is zero or the target's.

    Raises:
        ValueError: in one line, for a target of other sizes.
    """
    whole = config.model_copy(update={"attention_bias": True, "draft_vocab_size": None})
    like = state["input_layernorm.weight"]
    shapes = {**expected_shapes(whole), **_unused_shapes(config)}
    filled = {name: torch.zeros(shape, dtype=like.dtype) for name, shape in shapes.items()}
    given = {name: tensor for name, tensor in state.items() if name != VOCABULARY}
    spare = {} if target is None else _of_target(target, shapes)
    return {**filled, **{name: tensor.to(like.dtype) for name, tensor in spare.items()}, **given}


def published_config(config: GlideConfig, target: TargetWeights | None) -> dict[str, Any]:
    """A ``config.json`` of the target's shape, as published drafts have one."""
    whole = config.model_copy(update={"attention_bias": True})
    options = dict(config.longspec_config)
    if config.temperature != 1.0:  # the layout has no place for it, our options have
        options.setdefault("temperature", config.temperature)
    found = layer_config(whole)
    if target is not None:
        found["model_type"] = target.config["model_type"]
    return {"architectures": list(config.target.architectures), **found, "longspec_config": options}


def read_target(folder: Path | None) -> TargetWeights | None:
    """The target's weights, or None where no target is named.

    Raises:
        ValueError: in one line, for a folder without a model.
    """
    if folder is not None and not (folder / "config.json").is_file():
        raise ValueError(f"target {folder} has no config.json; give the folder of a model")
    return None if folder is None else TargetWeights(folder)


def _unused_shapes(config: GlideConfig) -> dict[str, torch.Size]:
    target = config.target
    width = target.num_key_value_heads * target.head_dim
    shapes = {"weight": torch.Size([width, target.hidden_size]), "bias": torch.Size([width])}
    return {name: shapes[name.rpartition(".")[2]] for name in UNUSED}


def _of_target(target: TargetWeights, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The target's last layer in the unused places."""
    last = target.config["num_hidden_layers"] - 1
    found: dict[str, Tensor] = {}
    for name in UNUSED:
        theirs = f"model.layers.{last}.self_attn.{name.partition('.')[2]}"
        if theirs in target.files or name.endswith("weight"):
            found[name] = target[theirs]
            if found[name].shape != shapes[name]:
                raise ValueError(
                    f"the target's {theirs} is {list(found[name].shape)}, this draft's target has"
                    f" {list(shapes[name])}; give the target that the draft was trained for"
                )
    return found
