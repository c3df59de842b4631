"""Verification: the stock sampler at every row that the accepted path visits, and only there.

Drawing level by level, one row a request, keeps the request's own parameters, its generator and its
logits processors in their places: a seeded request draws exactly the numbers that it would draw
without speculation, so its output is the same token for token.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from vllm.v1.outputs import LogprobsTensors, SamplerOutput

from proposers.acceptance import Walk, greedy_walk, walk
from proposers.tree import DraftTrees


def verify(
    trees: DraftTrees, logits: Tensor, first_rows: Tensor, sampler: Any, metadata: Any, plain: bool
) -> tuple[Walk, SamplerOutput]:
    """Accept a path of each tree.

    Args:
        trees: one per request of the batch; empty trees for undrafted requests.
        logits: ``[rows, V]`` of all roots and nodes.
        first_rows: ``[B]`` where each request's rows begin.
        sampler: vLLM's sampler.
        metadata: vLLM's sampling metadata, one entry per request.
        plain: True if every request of the batch is greedy and wants nothing else.

    Returns:
        the walk, and vLLM's output ``[B, D + 1]`` padded with -1.
    """
    if plain:
        best = sampler.greedy_sample(logits.float()).long()  # the CPU operator takes float32 only
        columns = torch.arange(trees.max_nodes + 1, device=logits.device)
        rows = (first_rows[:, None] + columns).clamp(max=logits.shape[0] - 1)
        accepted = greedy_walk(trees, best[rows])
        return accepted, SamplerOutput(accepted.tokens.int(), None)
    draws = _Draws(logits, first_rows, sampler, metadata)
    accepted = walk(trees, draws)
    return accepted, SamplerOutput(
        accepted.tokens.int(), draws.stacked_logprobs(accepted.tokens.shape[1])
    )


class _Draws:
    """Draws of one step; keeps the log-probabilities along the way."""

    def __init__(self, logits: Tensor, first_rows: Tensor, sampler: Any, metadata: Any) -> None:
        self.logits = logits
        self.first_rows = first_rows
        self.sampler = sampler
        if metadata.max_num_logprobs == -1:  # all of them: in the sampler's sorted form
            metadata = replace(metadata, max_num_logprobs=logits.shape[1])
        self.metadata = metadata
        self.logprobs: list[LogprobsTensors] = []

    def __call__(self, rows: Tensor, active: Tensor, depth: int) -> Tensor:
        metadata = self.metadata
        if depth and metadata.generators:  # a finished walk must not consume random numbers
            running = set(active.nonzero().flatten().tolist())
            seeded = {i: g for i, g in metadata.generators.items() if i in running}
            metadata = replace(metadata, generators=seeded)
        # indexing copies: the sampler works in place
        output = self.sampler(
            logits=self.logits[self.first_rows + rows], sampling_metadata=metadata
        )
        if output.logprobs_tensors is not None:
            self.logprobs.append(output.logprobs_tensors)
        return output.sampled_token_ids.flatten().long()

    def stacked_logprobs(self, width: int) -> LogprobsTensors | None:
        """``[B * width, K]``, in the order of the flattened tokens; unvisited levels repeat."""
        if not self.logprobs:
            return None
        levels = self.logprobs + [self.logprobs[-1]] * (width - len(self.logprobs))
        parts = zip(*(level[:3] for level in levels), strict=True)
        return LogprobsTensors(*(torch.stack(part, dim=1).flatten(0, 1) for part in parts))
