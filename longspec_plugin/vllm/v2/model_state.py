"""Laying trees out for the target: rotary positions, and the rows that attention is masked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.config.compilation import CUDAGraphMode
from vllm.v1.worker.gpu.model_states.default import DefaultModelState

from ..salts import scope_of
from ..ways import Way
from .attention import Kind, Verification
from .speculator import TreeSpeculator
from .topology import StepRows


class TreeModelState(DefaultModelState):
    """vLLM's own model state, with trees in it.

    Slots of the KV cache are linear, one a row; they are computed from ``input_batch.positions``
    before the positions that the model sees are changed, in a buffer of their own.
    """

    def attach(self, speculator: TreeSpeculator, kind: Kind) -> None:
        """Called once, by our runner."""
        self.speculator, self.kind = speculator, kind
        self.topology = speculator.topology
        self.tree_positions = torch.zeros(self.max_num_tokens, dtype=torch.int64).to(self.device)
        self.step_rows = StepRows(self.max_num_reqs, self.device)

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        super().add_request(req_index, new_req_data)
        way, scope = Way.of(new_req_data.sampling_params), scope_of(new_req_data)
        self.speculator.admit(req_index, way, scope)

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
        slot_mappings: Tensor,
        attn_groups: Any,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Attach the tree rows to the metadata that our attention backend reads.

        A graph of whole steps reads them at every replay, so they are laid out for it even where a
        step has no drafts.
        """
        metadata = super().prepare_attn(
            input_batch, cudagraph_mode, block_tables, slot_mappings, attn_groups, *args, **kwargs
        )
        whole = cudagraph_mode == CUDAGraphMode.FULL or kwargs.get("for_capture", False)
        if input_batch.num_draft_tokens_per_req is None and not whole:
            return metadata
        trees = self.verification(input_batch, block_tables[0], whole)
        for groups in attn_groups:
            for group in groups:
                own = metadata[group.layer_names[0]]
                own.longspec = self.kind.step(own, group.get_metadata_builder(), trees)
        return metadata

    def verification(self, batch: Any, table: Tensor, whole: bool) -> Verification:
        """A step's trees; ``whole``: it is computed as one graph, padded and uniform."""
        scheduled = batch.num_scheduled_tokens  # the host's own, as are drafts
        if whole:
            count, rows = batch.num_reqs_after_padding, batch.num_tokens_after_padding
            width, regular, only = int(scheduled.max()), True, True
        else:
            drafts = batch.num_draft_tokens_per_req
            count, width = int((drafts > 0).sum()), 1 + int(drafts.max())
            regular = bool((scheduled[:count] == 1 + drafts[:count]).all() and drafts[:count].all())
            count = count if regular else batch.num_reqs
            rows, only = int(batch.query_start_loc_np[count]), regular and count == batch.num_reqs
        self.step_rows.fill(batch, min(count, batch.num_reqs), whole)
        laid_out = self.step_rows.paged(table[:count], width, self.mask())
        return Verification(laid_out, regular, rows, only)

    def mask(self) -> Tensor:
        """Which tree row sees which, by request slot."""
        return self.topology.mask
