"""Reading and writing GLIDE drafts: ours, and the published LongSpec checkpoints.

Ours is one ``model.safetensors`` and a ``config.json``. Published ones, whole or in shards, hold 20
tensors, of which ``cross_attn.{k,v}_proj`` are never used; the training code's
``draft_model_weights.pth`` carries the prefix ``draft_model.``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..weights import Weights, check_whole
from .config import GlideConfig
from .layer import GlideLayer

VOCABULARY = "draft_vocab"
"""Tensor ``[Vd]``: the target's token id of each entry of the draft vocabulary."""
FILES = ("model.safetensors", "draft_model_weights.pth", "pytorch_model.bin")
UNUSED = tuple(f"cross_attn.{p}_proj.{kind}" for p in "kv" for kind in ("weight", "bias"))
PREFIX = "draft_model."
T = TypeVar("T")


def load_glide(
    draft: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    assumed: GlideConfig | None = None,
) -> tuple[GlideConfig, dict[str, Tensor]]:
    """Config and tensors of a draft, checked against each other.

    Args:
        draft: a folder, or a file of weights beside its ``config.json``.
        dtype: of the tensors; None leaves each as it is stored.
        assumed: the config of weights that come without one, as the training code's do.

    Raises:
        ValueError: one line with the tensor's name and both shapes, or the missing file.
    """
    config, weights = _checked(Path(draft), assumed)
    return config, {
        name: tensor.to(device, torch.int64 if name == VOCABULARY else dtype)
        for name, tensor in _ours(weights.read(list(weights.files))).items()
    }


def save_glide(folder: Path, config: GlideConfig, state: Mapping[str, Tensor]) -> None:
    """Write a draft folder; the weights are renamed into place when whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    _check(config, {name: tensor.shape for name, tensor in state.items()}, folder)
    write_weights(folder / FILES[0], state)
    config.save(folder)


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors, pickled or as safetensors by the file's suffix; renamed when whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    if path.suffix == ".safetensors":
        save_file(state, temporary, metadata={"format": "pt"})
        temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
    else:
        torch.save(state, temporary)
    temporary.replace(path)


def expected_shapes(config: GlideConfig) -> dict[str, torch.Size]:
    """Names and shapes of all tensors of a draft with this config."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in GlideLayer(config).state_dict().items()}
    if config.draft_vocab_size is not None:
        shapes[VOCABULARY] = torch.Size([config.draft_vocab_size])
    return shapes


def check_glide(draft: Path, assumed: GlideConfig | None = None) -> GlideConfig:
    """The config of a draft whose tensors have been checked without loading them.

    Raises:
        ValueError: as :func:`load_glide`.
    """
    return _checked(Path(draft), assumed)[0]


def _checked(draft: Path, assumed: GlideConfig | None) -> tuple[GlideConfig, Weights]:
    config, weights = _config(draft, assumed), Weights(draft, FILES)
    _check(config, _ours(weights.shapes), draft)
    return config, weights


def _ours(found: Mapping[str, T]) -> dict[str, T]:
    """By our names, without what is never used."""
    named = {name.removeprefix(PREFIX): value for name, value in found.items()}
    return {name: value for name, value in named.items() if name not in UNUSED}


def _config(draft: Path, assumed: GlideConfig | None) -> GlideConfig:
    folder = draft.parent if draft.is_file() else draft
    if assumed is not None and folder.is_dir() and not (folder / "config.json").exists():
        return assumed
    return GlideConfig.from_pretrained(folder)


def _check(config: GlideConfig, shapes: Mapping[str, torch.Size], draft: Path) -> None:
    check_whole(str(draft), expected_shapes(config), shapes)
