"""Laying trees out for the target: rotary positions, and the rows that attention is masked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.worker.gpu.model_states.default import DefaultModelState

from ..gates import draftable
from .attention import PagedTrees, Views
from .speculator import TreeSpeculator
from .topology import StepRows


class TreeModelState(DefaultModelState):
    """vLLM's own model state, with trees in it.

    Slots of the KV cache are linear, one a row; they are computed from ``input_batch.positions``
    before the positions that the model sees are changed, in a buffer of their own.
    """

    def attach(self, speculator: TreeSpeculator, views: Views) -> None:
        """Called once, by our runner."""
        self.speculator, self.views = speculator, views
        self.topology = speculator.topology
        self.tree_positions = torch.zeros(self.max_num_tokens, dtype=torch.int64).to(self.device)
        self.step_rows = StepRows(self.max_num_reqs, self.device)

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        super().add_request(req_index, new_req_data)
        self.speculator.admit(req_index, draftable(new_req_data.sampling_params))

    def prepare_inputs(self, input_batch: Any, req_states: Any) -> dict[str, Tensor | None]:
        """Rotary positions of tree rows: root + depth."""
        positions = self.tree_positions[: input_batch.num_tokens_after_padding]
        positions.copy_(input_batch.positions)
        if input_batch.num_draft_tokens_per_req is not None:
            self.place(positions, input_batch)
        return {**super().prepare_inputs(input_batch, req_states), "positions": positions}

    def place(self, positions: Tensor, input_batch: Any) -> None:
        """Bring the rows of trees to their depths."""
        slots, places = input_batch.expanded_idx_mapping, input_batch.expanded_local_pos.long()
        deeper = self.topology.extra_depth(slots, places)
        positions.index_add_(0, input_batch.logits_indices.long(), deeper)

    def prepare_dummy_inputs(self, num_reqs: int, num_tokens: int) -> dict[str, Any]:
        """The same buffer, as graphs are captured with it."""
        inputs = super().prepare_dummy_inputs(num_reqs, num_tokens)
        return {**inputs, "positions": self.tree_positions[:num_tokens]}

    def prepare_attn(
        self,
        input_batch: Any,
        cudagraph_mode: Any,
        block_tables: tuple[Tensor, ...],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Attach the tree rows to the metadata that our attention backend reads."""
        metadata = super().prepare_attn(input_batch, cudagraph_mode, block_tables, *args, **kwargs)
        drafts = input_batch.num_draft_tokens_per_req
        if drafts is None:
            return metadata
        self.step_rows.fill(input_batch)
        table = block_tables[0][: input_batch.num_reqs]
        rows = self.step_rows.paged(table, self.topology, self.mask())
        only_trees = bool((input_batch.num_scheduled_tokens == drafts + 1).all())  # the host's own
        step = PagedTrees(rows, self.views, only_trees)
        for layer in {id(m): m for m in metadata.values()}.values():
            layer.longspec = step
        return metadata

    def mask(self) -> Tensor:
        """Which tree row sees which, by request slot."""
        return self.topology.mask
