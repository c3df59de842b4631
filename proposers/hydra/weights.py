"""A head's safetensors file: whole layer tensors, or LoRA pairs that are merged when read.

Names are transformers' own (``model.layers.27.mlp.up_proj.weight``), with or without the prefix
``base_model.model.`` of PEFT adapters. A pair ``X.lora_A.weight [r, in]``, ``X.lora_B.weight
[out, r]`` becomes ``W + scale * B @ A`` (LoRA, arXiv 2106.09685, section 4.1), where scale is
``lora_alpha / r`` and ``lora_alpha`` is in the file's metadata or in PEFT's adapter_config.json
beside it. Tensors that a file does not name stay the target's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

PEFT_PREFIX = "base_model.model."
LORA = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")


def layer_name(layer: int, name: str) -> str:
    """transformers' name of a decoder layer's tensor."""
    return f"model.layers.{layer}.{name}"


def load_head(path: Path, layers: nn.ModuleList, first_layer: int) -> None:
    """Write a file's tensors into a head's layers.

    Args:
        layers: copies of the target's last layers.
        first_layer: index of the first of them in the target.

    Raises:
        ValueError: in one line that names file, tensor and, where they differ, both shapes.
    """
    own = {
        layer_name(first_layer + i, name): parameter
        for i, layer in enumerate(layers)
        for name, parameter in layer.named_parameters()
    }
    tensors, metadata = _read(path)
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := LORA.fullmatch(name):
            pairs.setdefault(f"{match['module']}.weight", {})[match["side"]] = tensor
        else:
            _check(path, name, tuple(tensor.shape), own)
            _write(own[name], tensor)
    alpha = _alpha(path, metadata) if pairs else 0.0
    for name, pair in pairs.items():
        _merge(path, name, pair, alpha, own)


def merged(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``weight [out, in] + scale * b [out, r] @ a [r, in]``, computed in float32 or better."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    return (weight.to(wide) + scale * (b.to(weight.device, wide) @ a.to(weight.device, wide))).to(
        weight.dtype
    )


def _merge(
    path: Path, name: str, pair: Mapping[str, Tensor], alpha: float, own: Mapping[str, Tensor]
) -> None:
    if set(pair) != {"A", "B"}:
        missing = "B" if "A" in pair else "A"
        raise ValueError(f"{path}: {name} has no lora_{missing}; a pair has lora_A and lora_B")
    a, b = pair["A"], pair["B"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise ValueError(
            f"{path}: {name} has lora_A {list(a.shape)} and lora_B {list(b.shape)};"
            " expected [r, in] and [out, r]"
        )
    _check(path, name, (b.shape[0], a.shape[1]), own)
    _write(own[name], merged(own[name], a, b, alpha / a.shape[0]))


def _write(parameter: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value)


def _check(path: Path, name: str, shape: tuple[int, ...], own: Mapping[str, Tensor]) -> None:
    if name not in own:
        numbers = sorted({int(key.split(".")[2]) for key in own})
        raise ValueError(
            f"{path}: {name} is no tensor of a head; expected tensors of model.layers."
            f"{numbers[0]} to {numbers[-1]}: change heads_depth or the file"
        )
    if shape != tuple(own[name].shape):
        raise ValueError(
            f"{path}: {name} has shape {list(shape)}, the target's is {list(own[name].shape)};"
            " the file was made for another target"
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise ValueError(f"{path} is no file; give one safetensors file per head")
    try:
        with safe_open(path, "pt") as file:
            tensors = {key.removeprefix(PEFT_PREFIX): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as safetensors: {reason}") from None


def _alpha(path: Path, metadata: Mapping[str, str]) -> float:
    """LoRA's alpha; a scale that is not known is not guessed."""
    if "lora_alpha" in metadata:
        return _number(path, metadata["lora_alpha"])
    config = path.with_name("adapter_config.json")
    found = json.loads(config.read_text()) if config.is_file() else {}
    if odd := [key for key in ("alpha_pattern", "rank_pattern", "use_rslora") if found.get(key)]:
        raise ValueError(f"{config}: {odd[0]} is not supported; merge the adapter with PEFT first")
    if "lora_alpha" not in found:
        raise ValueError(
            f"{path} has LoRA pairs and no lora_alpha; write it into the file's metadata, or put"
            " PEFT's adapter_config.json beside the file"
        )
    return _number(config, found["lora_alpha"])


def _number(path: Path, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{path}: lora_alpha={value!r} is no number") from None
