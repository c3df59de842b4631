"""The frozen pieces of a target that training needs, read from its files."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ..base import TargetModel, TargetShape
from ..glide.config import TargetConfig
from ..rotary import KEYS


class TargetWeights:
    """Tensors of a Llama or Qwen2 checkpoint by name, read when asked for."""

    def __init__(self, folder: Path) -> None:
        from ..pretrained import check_files, read_config  # seconds to import

        self.weights = check_files(folder, read_config(folder))
        self.config = json.loads((self.weights.path / "config.json").read_text())
        self.files = self.weights.files

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.files:
            raise ValueError(f"the target has no tensor {name}; is it a Llama or Qwen2 checkpoint?")
        return self.weights[name]

    def model(
        self, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
    ) -> TargetModel:
        """Embedding, head and final norm."""
        tied = self.config.get("tie_word_embeddings", False)
        embedding = self["model.embed_tokens.weight"].to(device, dtype)
        head = embedding if tied else self["lm_head.weight"].to(device, dtype)
        sizes = self.shape("").sizes()
        shape = TargetShape(**sizes, rope={key: self.config.get(key) for key in KEYS})
        return TargetModel(shape, embedding, head, self["model.norm.weight"].to(device, dtype))

    def shape(self, name: str) -> TargetConfig:
        return TargetConfig.from_transformers(self.config, name)
