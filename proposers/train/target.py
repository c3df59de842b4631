"""The frozen pieces of a target that training needs, read from its safetensors files."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..base import TargetModel, TargetShape
from ..glide.config import TargetConfig


class TargetWeights:
    """Tensors of a Llama or Qwen2 checkpoint by name, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                self.files |= dict.fromkeys(file.keys(), path)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.files:
            raise ValueError(f"the target has no tensor {name}; is it a Llama or Qwen2 checkpoint?")
        with safe_open(self.files[name], "pt") as file:
            return file.get_tensor(name)

    def model(
        self, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
    ) -> TargetModel:
        """Embedding, head and final norm."""
        tied = self.config.get("tie_word_embeddings", False)
        embedding = self["model.embed_tokens.weight"].to(device, dtype)
        head = embedding if tied else self["lm_head.weight"].to(device, dtype)
        shape = TargetShape(
            **{name: getattr(self.shape(""), name) for name in TargetShape.__dataclass_fields__}
        )
        return TargetModel(shape, embedding, head, self["model.norm.weight"].to(device, dtype))

    def shape(self, name: str) -> TargetConfig:
        return TargetConfig.from_transformers(self.config, name)
