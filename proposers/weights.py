"""Tensors in files, and whether they are all there: nothing loads half.

A checkpoint is one file or shards with an index, safetensors or pickles; pickles are opened with
``weights_only=True`` only. Names and shapes are read first, tensors when they are asked for.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SINGLE = ("model.safetensors", "pytorch_model.bin")
"""Names of whole files, in the order they are looked for; shards' indices have ``.index.json``."""
TOLD = 3
"""Faults that an error names; the others are counted."""


class Weights:
    """The tensors of a checkpoint by name.

    Args:
        path: a folder, or a file of weights.
        names: of the whole files that a folder may hold.

    Attributes:
        files: the file that each tensor lies in.
        shapes: of all tensors.

    Raises:
        ValueError: in one line that names the file, where one is missing, cut or no such file.
    """

    def __init__(self, path: Path, names: Sequence[str] = SINGLE) -> None:
        self.path = path
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, torch.Size] = {}
        for file in _files(path, names):
            shapes = _shapes(file)
            self.files |= dict.fromkeys(shapes, file)
            self.shapes |= shapes

    def __getitem__(self, name: str) -> Tensor:
        return self.read([name])[name]

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Tensors on the CPU; each file is opened once."""
        found: dict[str, Tensor] = {}
        for file in dict.fromkeys(self.files[name] for name in names):
            found |= _tensors(file, [name for name in names if self.files[name] == file])
        return found


def check_whole(
    owner: str, expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size]
) -> None:
    """Refuse a checkpoint that lacks tensors, or has others or other shapes than its config.

    Raises:
        ValueError: in one line that names the first faults, with both shapes.
    """
    faults = [
        f"tensor {name} {list(shape)} is missing"
        if name not in found
        else f"tensor {name} has shape {list(found[name])}, config.json asks for {list(shape)}"
        for name, shape in expected.items()
        if found.get(name) != shape
    ]
    unknown = sorted(set(found) - set(expected))
    faults += [f"tensor {name} is unknown for this config.json" for name in unknown]
    if faults:
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise ValueError(f"{owner}: {'; '.join(faults[:TOLD])}{more}")


def _files(path: Path, names: Sequence[str]) -> list[Path]:
    if path.is_file():
        return [path]
    for name in names:
        if (path / name).exists():
            return [path / name]
        if (path / f"{name}.index.json").exists():
            return _shards(path / f"{name}.index.json")
    raise ValueError(f"{path} holds no weights; expected one of {', '.join(names)}, or its shards")


def _shards(index: Path) -> list[Path]:
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"].values()
        files = [index.parent / name for name in sorted(set(named))]
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        raise ValueError(f"{index} is no index of weights; get it again") from None
    if gone := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{index} names {gone[0]}, which is not there; get it, too")
    return files


def _shapes(path: Path) -> dict[str, torch.Size]:
    with _readable(path):
        if path.suffix != ".safetensors":
            return {name: tensor.shape for name, tensor in _pickled(path, "meta").items()}
        with safe_open(path, "pt") as file:
            return {name: torch.Size(file.get_slice(name).get_shape()) for name in _keys(file)}


def _tensors(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    with _readable(path):
        if path.suffix != ".safetensors":
            whole = _pickled(path, "cpu")
            return {name: whole[name] for name in names}
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in names}


def _keys(file: safe_open) -> list[str]:
    return list(file.keys())


def _pickled(path: Path, device: str) -> dict[str, Tensor]:
    loaded = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(loaded, Mapping) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise pickle.UnpicklingError
    return dict(loaded)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError:
        raise ValueError(f"{path} cannot be read: it holds other things than tensors") from None
    except (SafetensorError, RuntimeError, OSError, EOFError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise ValueError(f"{path} cannot be read, perhaps it is cut: {reason}") from None
