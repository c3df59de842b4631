"""Acceptance: the stock sampler's draw at every row, a walk down each tree, KV of the path moved.

vLLM's random numbers are keyed by seed and position, and a tree row has the position that it would
have without speculation: a seeded request draws what it would draw then, token for token. (Where
all requests are greedy the stock sampler is one pass over the logits; ties fall as vanilla's do.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.v1.worker.gpu.spec_decode.rejection_sampler import RejectionSampler

from proposers.acceptance import Walk
from proposers.acceptance_triton import greedy_walk_triton
from proposers.attention.kv_move_triton import KVMover

from .attention import Views
from .timing import Timing
from .topology import TreeTopology


class TreeRejectionSampler(RejectionSampler):
    """vLLM's own, whose bounds of memory, log-probabilities and counts stay; the walk is ours."""

    def attach(self, runner: Any, topology: TreeTopology, views: Views) -> None:
        """Called once, by our runner."""
        self.runner, self.topology, self.views = runner, topology, views
        self.timing: Timing = runner.timing
        self.walks: list[Walk] = []

    def take_caches(self, caches: Sequence[Tensor]) -> None:
        """All layers' caches, which stay where they are from now on."""
        self.mover = KVMover([self.views(cache) for cache in caches])

    def __call__(self, logits: Tensor, input_batch: Any, *args: Any, **kwargs: Any) -> Any:
        self.walks = []
        with self.timing.section("accept"):
            output = super().__call__(logits, input_batch, *args, **kwargs)
            first = input_batch.cu_num_logits[:-1].long()
            rows, last = self.walked()
            self.runner.speculator.last_logit_rows = first + last
        with self.timing.section("move"):
            self.move(rows, first, input_batch.logits_indices)
        if self.timing.on:
            accepted = (rows > 0).sum()
            self.timing.note(requests=len(rows), rows=len(logits), accepted=accepted)
        return output

    def walked(self) -> tuple[Tensor, Tensor]:
        """Rows ``[B, D + 1]`` of all requests' paths, and the last ``[B]`` of each."""
        rows = [walk.rows for walk in self.walks]
        last = [walk.last_rows() for walk in self.walks]
        return (rows[0], last[0]) if len(rows) == 1 else (torch.cat(rows), torch.cat(last))

    def _verify(
        self,
        logits: Tensor,
        draft_logits: Tensor | None,
        draft_sampled: Tensor,
        pos: Tensor,
        cu_num_logits: Tensor,
        idx_mapping: Tensor,
        idx_mapping_np: Any,
        expanded_idx_mapping: Tensor,
        expanded_local_pos: Tensor,
        seq_lens_upper_bound_np: Any,
        verify_draft_sampled: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the stock one, of some of the step's requests: logits, tokens ``[B, D + 1]``, counts.

        ``pos`` comes linear.
        """
        places = expanded_local_pos.long()
        positions = pos + self.topology.extra_depth(expanded_idx_mapping, places).to(pos)
        drawn, processed = self.sampler.sample(
            logits,
            expanded_idx_mapping,
            idx_mapping,
            idx_mapping_np,
            positions,
            draft_sampled,
            expanded_local_pos,
            seq_lens_upper_bound_np,
            return_logprobs=True,
        )
        walk = self.walk(drawn.view(-1), verify_draft_sampled, cu_num_logits, idx_mapping)
        self.walks.append(walk)
        return processed, walk.tokens, (walk.accepted + 1).int()

    def walk(self, drawn: Tensor, drafted: Tensor, bounds: Tensor, slots: Tensor) -> Walk:
        """Walk the trees in ``slots`` (``[B]``) with a draw at every row.

        Args:
            drawn, drafted: ``[rows]`` tokens; -1 is a node that may not be accepted.
            bounds: ``[B + 1]`` where each request's rows begin.
        """
        shape = self.topology
        return greedy_walk_triton(
            drawn, drafted, bounds, slots, shape.parents, shape.sizes, shape.levels
        )

    def _get_logprobs_tensors(
        self,
        sampled: Tensor,
        num_sampled: Tensor,
        logits: Tensor,
        cu_num_logits: Tensor,
        cu_num_logits_np: Any,
        max_num_logprobs: int,
    ) -> Any:
        """As the stock one, whose token ``i`` of a request is drawn at its row ``i``."""
        if max_num_logprobs >= 0:
            logits = logits[path_first(self.walks[-1].rows, cu_num_logits.long(), len(logits))]
        return super()._get_logprobs_tensors(
            sampled, num_sampled, logits, cu_num_logits, cu_num_logits_np, max_num_logprobs
        )

    def move(self, rows: Tensor, first: Tensor, flat_rows: Tensor) -> None:
        """Bring the KV of accepted nodes to the slots right behind their root, in all layers.

        Args:
            rows: ``[B, D + 1]`` a walk's rows.
            first: ``[B]`` where each request's rows begin among the rows that have logits.
            flat_rows: where those lie among all rows of the step.
        """
        self.mover.move(rows, first, flat_rows, self.runner.block_tables.slot_mappings[0])


def path_first(rows: Tensor, bounds: Tensor, count: int) -> Tensor:
    """``[count]`` an order of all rows in which each request's begin with its accepted path.

    Args:
        rows: ``[B, D + 1]`` a walk's rows, -1 pads.
        bounds: ``[B + 1]`` where each request's rows begin.
    """
    order = torch.arange(count + 1, device=rows.device)  # the last takes what is no row
    place = bounds[:-1, None] + torch.arange(rows.shape[1], device=rows.device)
    place = torch.where(rows >= 0, place, count)
    return order.scatter(0, place.flatten(), (bounds[:-1, None] + rows).flatten())[:count]
