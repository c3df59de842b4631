"""A check at start that a captured step reads this step's mask, and not that of its capture.

A graph that answered by the mask it was captured with would answer wrongly in silence. So a
captured verification is replayed on the same tokens with two masks. All drafts are the same token
at the same position: where each sees itself and the root alone, all come out the same; where each
sees those before it, they do not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.config.compilation import CUDAGraphMode
from vllm.v1.worker.gpu.input_batch import InputBatch

from ...errors import LongSpecError

TOKEN, ROOT = 2, 1


def check_replays(runner: Any) -> None:
    """Refuse to serve with a graph of whole steps that does not heed its mask.

    Raises:
        LongSpecError: in one line, with what to start with instead.
    """
    manager = runner.cudagraph_manager
    graphs = [g for g in manager.graphs if (g.uniform_token_count or 1) > 2 and g.num_reqs]
    if not graphs:
        return
    graph = min(graphs, key=lambda g: (g.num_tokens, g.num_reqs))
    mask = runner.model_state.topology.mask
    kept = mask[0].clone()
    star, chain = (replayed(runner, graph, seen) for seen in masks(graph.uniform_token_count))
    mask[0] = kept
    lay_out(runner, graph)
    alike, apart = spread(star), spread(chain)
    if not apart > 4 * alike:
        raise LongSpecError(
            "a captured step does not heed its tree mask (drafts differ by"
            f" {alike:.2g} where they must not, by {apart:.2g} where they must);"
            " serve with --enforce-eager and report it"
        )


def masks(width: int) -> tuple[Tensor, Tensor]:
    """``[width, width]`` uint8: rows see themselves and the root; rows see all before them."""
    star = torch.eye(width, dtype=torch.uint8)
    star[:, 0] = 1
    return star, torch.ones_like(star).tril()


def replayed(runner: Any, graph: Any, mask: Tensor) -> Tensor:
    """``[width - 1, H]`` the last hidden states of the first request's drafts, by a replay."""
    state, width = runner.model_state, len(mask)
    lay_out(runner, graph)
    state.topology.mask[0, :width, :width] = mask.to(runner.device)
    runner.input_buffers.input_ids[:width] = TOKEN
    runner.input_buffers.input_ids[0] = ROOT
    state.tree_positions[:width] = 1
    state.tree_positions[0] = 0
    give_room(runner.block_tables, width)
    hidden = runner.cudagraph_manager.run_fullgraph(graph)
    return hidden[1:width].float().clone()


def lay_out(runner: Any, graph: Any) -> None:
    """As for a capture: requests of as many rows as the graph takes, without a prefix or room."""
    batch = InputBatch.make_dummy(graph.num_reqs, graph.num_tokens, runner.input_buffers)
    blocks = runner.block_tables
    runner.model_state.prepare_attn(
        batch,
        CUDAGraphMode.FULL,
        blocks.get_dummy_block_tables(graph.num_reqs),
        blocks.get_dummy_slot_mappings(graph.num_tokens),
        runner.attn_groups,
        runner.kv_cache_config,
        for_capture=True,
    )


def give_room(blocks: Any, width: int) -> None:
    """The first request's rows go to the first slots of the cache, which is empty yet."""
    device = blocks.slot_mappings.device
    blocks.slot_mappings[:, :width] = torch.arange(width, device=device)
    for table in blocks.input_block_tables:
        table[0] = torch.arange(table.shape[1], device=device)


def spread(hidden: Tensor) -> float:
    """The largest difference between a row and the first."""
    return float((hidden - hidden[:1]).abs().max())
