"""Steps of a small batch as Model Runner V2 would make them, without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspec_plugin.vllm.v2.attention_triton import KIND
from longspec_plugin.vllm.v2.speculator import TreeSpeculator
from longspec_plugin.vllm.v2.timing import Timing
from proposers.base import Proposer
from proposers.glide.proposer import GlideProposer
from proposers.glide_lookup import GlideLookupProposer
from tests.unit.glide.tiny import DIM, HEADS, HIDDEN, KV_HEADS, tiny_draft, tiny_target

SLOTS, LENGTH, PAGE, PAGES = 6, 128, 16, 40


def proposer(kind: str, folder: Path) -> Proposer:
    tiny_draft(folder, hidden_state_input=True)
    if kind == "glide":
        return GlideProposer(folder, {"tree_shape": [3, 4, 2], "nodes": 6, "min_probability": 0.01})
    return GlideLookupProposer(
        folder, {"tree_shape": [2, 2], "lookup_shape": [2, 1, 1], "nodes": 5}
    )


def runner() -> Any:
    """What our parts read of vLLM's runner: requests' texts, lengths and tables."""
    torch.manual_seed(0)
    texts = torch.randint(0, 7, (SLOTS, LENGTH), dtype=torch.int32)  # few words: lookups match
    states = SimpleNamespace(
        total_len=SimpleNamespace(gpu=torch.tensor([40, 9, 77, 23, 61, 33], dtype=torch.int32)),
        all_token_ids=SimpleNamespace(gpu=texts),
    )
    tables = torch.zeros(SLOTS, LENGTH // PAGE, dtype=torch.int32)
    blocks = SimpleNamespace(input_block_tables=[tables])
    device = torch.device("cpu")
    model = SimpleNamespace(get_hidden_size=lambda: HIDDEN, dtype=torch.float32)
    return SimpleNamespace(
        max_num_reqs=SLOTS,
        max_model_len=LENGTH,
        device=device,
        timing=Timing(device, None),
        vllm_config=SimpleNamespace(model_config=model),
        req_states=states,
        block_tables=blocks,
    )


def speculator(kind: str, folder: Path) -> TreeSpeculator:
    made = TreeSpeculator(proposer(kind, folder), runner())
    generator = torch.Generator().manual_seed(5)
    cache = torch.randn(PAGES, KV_HEADS, PAGE, 2 * DIM, generator=generator)
    impl = SimpleNamespace(scale=DIM**-0.5, num_heads=HEADS)
    made.bind(tiny_target, SimpleNamespace(kv_cache=cache, impl=impl), KIND)
    made.draftable.fill_(True)
    return made


def batch(slots: Sequence[int], nodes: int, lengths: Tensor, seed: int) -> Any:
    """The input batch of a step in which each of ``slots`` verified a tree of ``nodes``."""
    generator = torch.Generator().manual_seed(seed)
    count, width = len(slots), 1 + nodes
    bounds = torch.arange(count + 1, dtype=torch.int32) * width
    index = torch.tensor(slots)
    return SimpleNamespace(
        num_reqs=count,
        num_reqs_after_padding=count,
        num_tokens_after_padding=count * width,
        idx_mapping=index,
        idx_mapping_np=np.array(slots),
        cu_num_logits=bounds,
        query_start_loc=bounds.clone(),
        seq_lens=lengths[index].int() - 1 + width,
        logits_indices=torch.arange(count * width),
        hidden=torch.randn(count * width, HIDDEN, generator=generator),
        num_sampled=torch.randint(1, 4, (count,), generator=generator, dtype=torch.int32),
        tables=torch.randperm(PAGES, generator=generator)[: count * 8].view(count, 8).int(),
        is_prefilling_np=np.zeros(count, dtype=bool),
        num_scheduled_tokens=np.full(count, width),
        num_draft_tokens_per_req=np.full(count, nodes),
        query_start_loc_np=np.arange(count + 1) * width,
    )


def stage(made: TreeSpeculator, given: Any) -> None:
    """All that comes before drafting: buffers are filled, windows are there."""
    count = given.num_reqs
    with torch.inference_mode():
        made.runner.block_tables.input_block_tables[0][:count] = given.tables
        made.stage(given, given.hidden, given.num_sampled)
        made.proposer.start(made.context(count))
