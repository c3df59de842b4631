"""An EAGLE-3 head (arXiv 2503.01840) as vLLM serves it, in plain PyTorch, and its checkpoint.

At position i the head reads token i + 1 and the target's states at i, and says token i + 2:

    h = fc [N_1 s_1; N_2 s_2; N_3 s_3],   x = [N e(token i + 1); N h]
    y = h + attention(x),   z = y + MLP(N y),   logits = W N z

with ``s`` the states before three of the target's layers and ``N`` RMS norms. Drafting on, z stands
for the h of the next position. Embedding and W, the rows of the draft vocabulary of the target's
head, are the target's own and frozen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proposers.glide.checkpoint import FILES, write_weights
from proposers.glide.layer import GatedMLP
from proposers.train.target import TargetWeights

Tables = tuple[Tensor, Tensor]
"""Cosines and sines ``[N, d]``."""
Attend = Callable[[Tensor], Tensor]
"""Rotated queries ``[N, heads, d]`` to what they read, ``[N, heads, d]``."""


class Attention(nn.Module):
    """Projections of self-attention, whose input is twice as wide as its output."""

    def __init__(self, hidden: int, queries: int, pairs: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(2 * hidden, queries, bias=False)
        self.k_proj = nn.Linear(2 * hidden, pairs, bias=False)
        self.v_proj = nn.Linear(2 * hidden, pairs, bias=False)
        self.o_proj = nn.Linear(queries, hidden, bias=False)


class Layer(nn.Module):
    """The decoder layer."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head_dim = config.get("head_dim") or hidden // self.heads
        self.input_layernorm = nn.RMSNorm(hidden, eps)
        self.hidden_norm = nn.RMSNorm(hidden, eps)
        sizes = (self.heads * self.head_dim, self.kv_heads * self.head_dim)
        self.self_attn = Attention(hidden, *sizes)
        self.post_attention_layernorm = nn.RMSNorm(hidden, eps)
        self.mlp = GatedMLP(hidden, config["intermediate_size"])

    def read(self, embedded: Tensor, hidden: Tensor) -> Tensor:
        """``[N, 2H]`` what attention reads of ``[N, H]`` embeddings and hidden states."""
        return torch.cat([self.input_layernorm(embedded), self.hidden_norm(hidden)], -1)

    def pairs(self, x: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
        """``[N, kv_heads, d]`` rotated keys, and values."""
        shape = (len(x), self.kv_heads, self.head_dim)
        own = self.self_attn
        return turned(own.k_proj(x).view(shape), tables), own.v_proj(x).view(shape)

    def forward(self, x: Tensor, hidden: Tensor, tables: Tables, attend: Attend) -> Tensor:
        """``[N, H]`` the next hidden states."""
        query = self.self_attn.q_proj(x).view(len(x), self.heads, self.head_dim)
        y = hidden + self.self_attn.o_proj(attend(turned(query, tables)).flatten(1))
        z: Tensor = y + self.mlp(self.post_attention_layernorm(y))
        return z


class Eagle3Head(nn.Module):
    """The trained part: the fusion of three states, the decoder layer, and the norm before W.

    Args:
        config: the target's ``config.json``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.fc_norm = nn.ModuleList([nn.RMSNorm(hidden, eps) for _ in range(3)])
        self.fc = nn.Linear(3 * hidden, hidden, bias=False)
        self.midlayer = Layer(config)
        self.norm = nn.RMSNorm(hidden, eps)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def fuse(self, states: Tensor) -> Tensor:
        """``[N, 3H]`` states of the target to ``[N, H]``."""
        parts = zip(self.fc_norm, states.chunk(3, -1), strict=True)
        fused: Tensor = self.fc(torch.cat([norm(part) for norm, part in parts], -1))
        return fused


def turned(x: Tensor, tables: Tables) -> Tensor:
    """Rotary positions of ``[N, heads, d]`` by tables ``[N, d]`` of cosines and sines."""
    cos, sin = (table[:, None] for table in tables)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


def save_head(folder: Path, head: Eagle3Head, target: TargetWeights, vocabulary: Tensor) -> None:
    """Write the folder that ``{"method": "eagle3", "model": FOLDER}`` serves.

    Args:
        vocabulary: ``[Vd]`` the target's ids of the draft vocabulary, rising.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.bfloat16() for name, tensor in head.state_dict().items()}
    tensors["lm_head.weight"] = target.model().head[vocabulary]
    size = int(target.config["vocab_size"])
    tensors["d2t"] = vocabulary - torch.arange(len(vocabulary))
    tensors["t2d"] = torch.zeros(size, dtype=torch.bool).index_fill_(0, vocabulary, True)
    write_weights(folder / FILES[0], {k: t.contiguous() for k, t in tensors.items()})
    config = {
        **target.config,
        "architectures": ["LlamaForCausalLMEagle3"],
        "num_hidden_layers": 1,
        "draft_vocab_size": len(vocabulary),
        "tie_word_embeddings": False,
        "fc_norm": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
