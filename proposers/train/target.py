"""The frozen pieces of a target that training needs, read from its safetensors files."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..base import TargetModel, TargetShape
from ..glide.config import TargetConfig
from ..glide.layer import GlideLayer


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

    def model(self, dtype: torch.dtype = torch.bfloat16) -> TargetModel:
        """Embedding, head and final norm."""
        tied = self.config.get("tie_word_embeddings", False)
        embedding = self["model.embed_tokens.weight"].to(dtype)
        head = embedding if tied else self["lm_head.weight"].to(dtype)
        shape = TargetShape(
            **{name: getattr(self.shape(""), name) for name in TargetShape.__dataclass_fields__}
        )
        return TargetModel(shape, embedding, head, self["model.norm.weight"].to(dtype))

    def shape(self, name: str) -> TargetConfig:
        return TargetConfig.from_transformers(self.config, name)


def initialise(layer: GlideLayer, target: TargetWeights) -> None:
    """Start from the target's own layers: self-attention from its first, the rest from its last.

    The draft's self-attention reads embeddings, as the target's first layer does; its
    cross-attention reads the last layer's cache, as the last layer's own queries do.
    """
    last = target.config["num_hidden_layers"] - 1
    state = {}
    for name in layer.state_dict():
        module, _, rest = name.partition(".")
        if module == "self_attn":
            source = f"model.layers.0.self_attn.{rest}"
        elif module == "cross_attn":
            source = f"model.layers.{last}.self_attn.{rest}"
        elif module == "mlp":
            source = f"model.layers.{last}.{name}"
        else:
            source = NORMS.get(name, "").format(last=last)
        if source in target.files:
            state[name] = target[source].float()
    layer.load_state_dict(state, strict=False)


NORMS = {
    "input_layernorm.weight": "model.layers.0.input_layernorm.weight",
    "post_self_attention_layernorm.weight": "model.layers.{last}.input_layernorm.weight",
    "post_cross_attention_layernorm.weight": "model.layers.{last}.post_attention_layernorm.weight",
}
