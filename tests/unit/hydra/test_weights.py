"""Heads from files: whole tensors and LoRA pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from proposers.hydra import HydraConfig, HydraTransformer

from .tiny import tiny_target

UP = "model.layers.2.mlp.up_proj"
PAIR = {
    f"{UP}.lora_A.weight": torch.arange(32.0).view(2, 16) / 32,
    f"{UP}.lora_B.weight": torch.arange(48.0).view(24, 2) / 48,
}


def hydra_of(folder: Path, tensors: dict[str, Tensor], **metadata: str) -> HydraTransformer:
    """Head 0 from these tensors, head 1 from an empty file."""
    save_file(tensors, folder / "a.safetensors", metadata)
    save_file({}, folder / "b.safetensors")
    files = [folder / "a.safetensors", folder / "b.safetensors"]
    return HydraTransformer.from_target(tiny_target(), HydraConfig(2, 1), files)


def up_weights(hydra: HydraTransformer) -> tuple[Tensor, Tensor, Tensor]:
    """Of head 0, head 1 and the target."""
    first, second = (head[0].mlp.up_proj.weight for head in hydra.heads)
    return first, second, tiny_target().model.layers[2].mlp.up_proj.weight


def test_whole_tensors(tmp_path: Path) -> None:
    weight = torch.randn(24, 16, dtype=torch.bfloat16)
    first, second, target = up_weights(hydra_of(tmp_path, {f"{UP}.weight": weight}))
    assert torch.equal(first, weight.double())
    assert torch.equal(second, target)


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_lora_pairs_are_merged(tmp_path: Path, prefix: str) -> None:
    pair = {prefix + name: tensor for name, tensor in PAIR.items()}
    first, second, target = up_weights(hydra_of(tmp_path, pair, lora_alpha="6"))
    a, b = (tensor.double() for tensor in PAIR.values())
    torch.testing.assert_close(first, target + 6 / 2 * b @ a)
    assert torch.equal(second, target)


def test_alpha_of_an_adapter_config(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 4, "r": 2}))
    first, _, target = up_weights(hydra_of(tmp_path, PAIR))
    a, b = (tensor.double() for tensor in PAIR.values())
    torch.testing.assert_close(first, target + 2 * b @ a)


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        (PAIR, r"has LoRA pairs and no lora_alpha"),
        (
            {f"{UP}.weight": torch.zeros(3, 16)},
            r"up_proj.weight has shape \[3, 16\], .* \[24, 16\]",
        ),
        (
            {"model.layers.1.mlp.up_proj.weight": torch.zeros(24, 16)},
            r"layers.1.mlp.up_proj.weight is no tensor of a head; .*model.layers.2 to 2",
        ),
        ({f"{UP}.lora_A.weight": torch.zeros(2, 16)}, r"up_proj.weight has no lora_B"),
        (
            PAIR | {f"{UP}.lora_A.weight": torch.zeros(3, 16)},
            r"has lora_A \[3, 16\] and lora_B \[24, 2\]",
        ),
        (
            PAIR | {f"{UP}.lora_B.weight": torch.zeros(9, 2)},
            r"up_proj.weight has shape \[9, 16\], the target's is \[24, 16\]",
        ),
    ],
)
def test_wrong_files_are_refused_in_one_line(
    tmp_path: Path, tensors: dict[str, Tensor], line: str
) -> None:
    known = {} if line.endswith("no lora_alpha") else {"lora_alpha": "2"}
    with pytest.raises(ValueError, match=line) as error:
        hydra_of(tmp_path, tensors, **known)
    assert "\n" not in str(error.value)
    assert "a.safetensors" in str(error.value)


def test_wrong_paths_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_text("no tensors")
    for files, line in (
        ([tmp_path / "none"] * 2, r"none is no file"),
        ([tmp_path / "bad.safetensors"] * 2, r"cannot be read as safetensors"),
        ([tmp_path / "none"], r"1 files of heads for n_heads=2"),
    ):
        with pytest.raises(ValueError, match=line):
            HydraTransformer.from_target(tiny_target(), HydraConfig(2, 1), files)
