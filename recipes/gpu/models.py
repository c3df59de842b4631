"""A random target and a random draft for it, and what of them fits a card."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from .plan import Plan, write

GIB = 2**30
SPARE_GIB = 5.0
"""What an engine takes beside weights and KV: activations, graphs, the CUDA context, the draft."""
Pair = tuple[int, int]
"""A context, in tokens, and a batch."""


def target_config(plan: Plan) -> dict[str, Any]:
    """``config.json`` of the target, whose weights vLLM makes up."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": plan.dtype,
        **plan.sizes,
    }


def make(plan: Plan, folder: Path) -> tuple[Path, Path]:
    """Write both; the folders of the target and of the draft."""
    import torch

    from proposers.glide.checkpoint import save_glide
    from proposers.glide.config import GlideConfig, TargetConfig
    from recipes.offline.random_llama import random_draft

    target, draft = folder / "target", folder / "draft"
    config = target_config(plan)
    write(target / "config.json", config)
    glide = GlideConfig(
        target=TargetConfig.from_transformers(config, plan.shapes),
        draft_vocab_size=plan.draft_vocab or None,
        max_lag=len(plan.tree) + 1,
    )
    save_glide(draft, glide, random_draft(glide, getattr(torch, plan.dtype)))
    return target, draft


def weights_gib(plan: Plan) -> float:
    """Of the target's weights, norms aside."""
    size, share = plan.sizes, plan.sizes["num_key_value_heads"] / plan.sizes["num_attention_heads"]
    hidden = size["hidden_size"]
    layer = hidden * (2 * hidden * (1 + share) + 3 * size["intermediate_size"])
    count = size["num_hidden_layers"] * layer + 2 * hidden * size["vocab_size"]
    return count * _width(plan) / GIB


def cache_gib(plan: Plan, pair: Pair) -> float:
    """Of the KV cache for a pair's requests, with a twentieth to spare."""
    size = plan.sizes
    dim = size["hidden_size"] // size["num_attention_heads"]
    token = 2 * size["num_hidden_layers"] * size["num_key_value_heads"] * dim * _width(plan)
    context, batch = pair
    length = context + plan.longest - max(plan.contexts)
    return 1.05 * batch * length * token / GIB


def _width(plan: Plan) -> int:
    """Bytes of a number."""
    return 2 if plan.dtype == "bfloat16" else 4


def fitting(plan: Plan, card: float) -> list[Pair]:
    """The pairs that an engine alone has room for on ``card`` GiB, small batches first."""
    room = 0.97 * card - weights_gib(plan) - SPARE_GIB
    pairs = [(context, batch) for batch in plan.batches for context in plan.contexts]
    return [pair for pair in pairs if cache_gib(plan, pair) <= room]


def side_by_side(plan: Plan, pairs: list[Pair], card: float) -> int:
    """How many engines with room for ``pairs`` the card holds at once, at least one."""
    cache = max(cache_gib(plan, pair) for pair in pairs)
    return max(1, int(0.97 * card // (weights_gib(plan) + SPARE_GIB + cache)))


def card_gib(plan: Plan) -> float:
    """Memory of the first GPU; of a CPU as much as trying out takes."""
    if plan.device == "cpu":
        return 16.0
    line = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return float(listed.split()[0]) / 1024
