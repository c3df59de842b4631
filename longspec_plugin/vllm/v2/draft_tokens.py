"""What the scheduler is told of drafts: trees, where requests with grammars are in the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.worker.gpu.spec_decode.utils import DraftTokensHandler

from .grammars import TreeTokens
from .topology import TreeTopology


class TreeTokensHandler(DraftTokensHandler):
    """vLLM's copies drafts to the host beside the next forward; with them go their parents."""

    def __init__(self, device: torch.device, topology: TreeTopology) -> None:
        super().__init__(device)
        self.topology = topology

    def set_draft_tokens(self, input_batch: Any, draft_tokens: Tensor) -> None:
        """``draft_tokens``: ``[B, nodes]``."""
        width, told = draft_tokens.shape[1], draft_tokens
        if input_batch.has_structured_output_reqs:
            slots, shapes = input_batch.idx_mapping, self.topology
            parts = (shapes.parents[slots, :width], shapes.sizes[slots, None].clamp(max=width))
            told = torch.cat([draft_tokens, *(part.to(draft_tokens) for part in parts)], 1)
        super().set_draft_tokens(input_batch, told)
        self.num_draft_tokens = width

    def get_draft_tokens(self) -> Any:
        """vLLM's ``DraftTokenIds``."""
        found, width = super().get_draft_tokens(), self.num_draft_tokens
        if self.draft_tokens_np is not None:
            rows = found.draft_token_ids
            found.draft_token_ids = [TreeTokens.of(row, width) for row in rows]
        return found
