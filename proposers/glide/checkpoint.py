"""Reading and writing GLIDE drafts: ours, and the published LongSpec checkpoints.

Ours is one ``model.safetensors`` and a ``config.json``. Published ones hold 20 tensors, of which
``cross_attn.{k,v}_proj`` are never used; the training code's ``draft_model_weights.pth`` carries
the prefix ``draft_model.``. Pickles are opened with ``weights_only=True`` only.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .config import GlideConfig
from .layer import GlideLayer

VOCABULARY = "draft_vocab"
"""Tensor ``[Vd]``: the target's token id of each entry of the draft vocabulary."""
FILES = ("model.safetensors", "draft_model_weights.pth", "pytorch_model.bin")
UNUSED = tuple(f"cross_attn.{p}_proj.{kind}" for p in "kv" for kind in ("weight", "bias"))
PREFIX = "draft_model."


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
    config = _config(Path(draft), assumed)
    state = {k.removeprefix(PREFIX): v for k, v in _read_tensors(Path(draft)).items()}
    state = {k: v for k, v in state.items() if k not in UNUSED}
    _check(config, {name: tensor.shape for name, tensor in state.items()}, draft)
    return config, {
        name: tensor.to(device, torch.int64 if name == VOCABULARY else dtype)
        for name, tensor in state.items()
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
        ValueError: as :func:`load_glide`. Pickled weights are only looked for.
    """
    config = _config(Path(draft), assumed)
    path = _weights(Path(draft))
    if path.suffix == ".safetensors":
        with _readable(path), safe_open(path, framework="pt") as file:
            shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        shapes = {k.removeprefix(PREFIX): v for k, v in shapes.items()}
        _check(config, {k: v for k, v in shapes.items() if k not in UNUSED}, draft)
    return config


def _config(draft: Path, assumed: GlideConfig | None) -> GlideConfig:
    folder = draft.parent if draft.is_file() else draft
    if assumed is not None and folder.is_dir() and not (folder / "config.json").exists():
        return assumed
    return GlideConfig.from_pretrained(folder)


def _check(config: GlideConfig, shapes: Mapping[str, torch.Size], folder: Path) -> None:
    expected = expected_shapes(config)
    for name, shape in expected.items():
        if name not in shapes:
            raise ValueError(f"{folder}: tensor {name} {list(shape)} is missing")
        if shapes[name] != shape:
            raise ValueError(
                f"{folder}: tensor {name} has shape {list(shapes[name])},"
                f" config.json asks for {list(shape)}"
            )
    if unknown := sorted(set(shapes) - set(expected)):
        raise ValueError(f"{folder}: tensor {unknown[0]} is unknown for this config.json")


def _read_tensors(draft: Path) -> dict[str, Tensor]:
    path = _weights(draft)
    with _readable(path):
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded


def _weights(draft: Path) -> Path:
    if draft.is_file():
        return draft
    path = next((draft / name for name in FILES if (draft / name).exists()), None)
    if path is None:
        raise ValueError(f"{draft} holds no weights; expected one of {', '.join(FILES)}")
    return path


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError:
        raise ValueError(f"{path} cannot be read: it holds other things than tensors") from None
    except (SafetensorError, RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
