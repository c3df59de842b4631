"""A draft dealt out to ranks as its target is: q by KV head with their k and v, the MLP by columns.

Each rank reads the whole file and keeps its part; what it computes of a sublayer's output is a
summand of it. Norms, ``hidden_proj`` and a reduced vocabulary's head are every rank's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..sharding import Shard
from .config import GlideConfig

HEADS, KV_HEADS, INNER = "num_attention_heads", "num_key_value_heads", "intermediate_size"
DEALT = {
    "q_proj": (0, HEADS),
    "k_proj": (0, KV_HEADS),
    "v_proj": (0, KV_HEADS),
    "o_proj": (1, HEADS),
    "gate_proj": (0, INNER),
    "up_proj": (0, INNER),
    "down_proj": (1, INNER),
}
"""The dimension in which a projection is dealt out, and of what it holds how many."""


def local_config(config: GlideConfig, shard: Shard) -> GlideConfig:
    """The config of one rank's layer.

    Raises:
        ValueError: in one line, for sizes that cannot be dealt out.
    """
    sizes = {}
    for name in (HEADS, KV_HEADS, INNER):
        count = getattr(config.target, name)
        shared = name == KV_HEADS and shard.size % count == 0
        if count % shard.size and not shared:
            raise ValueError(
                f"tensor parallel size {shard.size} does not divide the draft's {name}={count};"
                " allowed: its divisors"
            )
        part = shard.part(count)
        sizes[name] = part.stop - part.start
    return config.model_copy(update={"target": config.target.model_copy(update=sizes)})


def local_state(
    config: GlideConfig, state: Mapping[str, Tensor], shard: Shard
) -> dict[str, Tensor]:
    """One rank's part of the tensors of a draft; copies, so that the whole can be let go."""
    if shard.size == 1:
        return dict(state)
    return {name: _dealt(config, name, tensor, shard) for name, tensor in state.items()}


def _dealt(config: GlideConfig, name: str, tensor: Tensor, shard: Shard) -> Tensor:
    projection = name.rsplit(".", 2)[-2] if "." in name else name
    if projection not in DEALT:
        return tensor
    dim, what = DEALT[projection]
    count = getattr(config.target, what)
    width, part = tensor.shape[dim] // count, shard.part(count)
    return tensor.narrow(dim, part.start * width, (part.stop - part.start) * width).clone()


def likeliest(
    shard: Shard, values: Tensor, ids: Tensor, log_sums: Tensor, k: int, spread: bool
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and ids ``[..., k]`` of the likeliest tokens, the same on all ranks.

    Ranks must not differ in a last bit: growth may end early, and who goes on alone waits for ever.
    So a head that every rank has whole counts as the first rank saw it.

    Args:
        values, ids: ``[..., at most k]`` the greatest logits of this rank.
        log_sums: ``[..., 1]`` log-sum-exp of all its logits.
        spread: the head's rows are spread over ranks; else each has all of them.
    """
    room = (0, k - values.shape[-1])
    found = (F.pad(values, room, value=float("-inf")), F.pad(ids.float(), room), log_sums)
    parts = shard.all_gather(torch.cat(found, dim=-1))
    parts = (parts if spread else parts[:1]).movedim(0, -2)
    values, ids, log_sums = parts.split([k, k, 1], dim=-1)
    best = values.flatten(-2).topk(k, dim=-1)
    chosen = ids.flatten(-2).gather(-1, best.indices).long()
    return best.values - log_sums.squeeze(-1).logsumexp(-1, keepdim=True), chosen
