"""A batch of trees as SGLang's verification input."""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.model_executor.forward_batch_info import CaptureHiddenMode
from sglang.srt.speculative.ngram_info import NgramVerifyInput
from torch import Tensor

from proposers.tree import DraftTrees, ancestor_mask, row_positions


class TreeVerifyInput(NgramVerifyInput):  # type: ignore[misc]
    """The rows of one step: ``width`` a request, the root first.

    Trees smaller than ``width - 1`` nodes are padded with rows that see the root alone; what they
    write lies behind the tree and is written again before anything reads it. No tree is larger,
    though its tensors may be wider.

    Attributes:
        mask: ``[B, width, width]`` bool, row sees row.
        trees: what was proposed.
    """

    def __init__(
        self, trees: DraftTrees, roots: Tensor, lengths: Tensor, width: int, most: int | None
    ) -> None:
        """
        Args:
            roots, lengths: ``[B]`` root tokens, and verified tokens before them.
            most: where the backend takes a mask over the prefix as well, no fewer than the sum of
                ``lengths``, as the host knows it; else None.
        """
        self.trees = trees
        tokens = _padded(torch.cat([roots[:, None], trees.tokens], 1), width, roots[:, None])
        positions = row_positions(trees, lengths)
        real = torch.cat([torch.ones_like(roots[:, None], dtype=torch.bool), trees.valid()], 1)
        positions = torch.where(real, positions, lengths[:, None])
        self.mask = _widened(ancestor_mask(trees), width)
        super().__init__(
            draft_token=tokens.flatten(),
            custom_mask=self.mask.flatten()
            if most is None
            else _with_prefix(self.mask, lengths, most),
            positions=_padded(positions, width, lengths[:, None]).flatten(),
            draft_token_num=width,
        )
        self.capture_hidden_mode = CaptureHiddenMode.FULL


def next_input(width: int, tokens: Tensor, counts: Tensor, lengths: Tensor) -> Any:
    """What SGLang relays to the next step.

    Args:
        tokens: ``[B, <= width]`` emitted tokens; counts: ``[B]`` how many of them are real.
        lengths: ``[B]`` verified tokens, without the next root.
    """
    padded = _padded(tokens.clamp(min=0), width, torch.zeros_like(tokens[:, :1]))
    return NgramVerifyInput(
        draft_token_num=width,
        new_seq_lens=lengths,
        accept_tokens=padded.flatten().to(torch.int32),
        accept_lens=counts,
    )


def _padded(rows: Tensor, width: int, fill: Tensor) -> Tensor:
    missing = width - rows.shape[1]
    if missing <= 0:
        return rows[:, :width]
    return torch.cat([rows, fill.to(rows).expand(-1, missing)], 1)


def _widened(mask: Tensor, width: int) -> Tensor:
    batch, size, _ = mask.shape
    if size >= width:
        return mask[:, :width, :width]
    wide = torch.eye(width, dtype=torch.bool, device=mask.device).repeat(batch, 1, 1)
    wide[:, :, 0] = True
    wide[:, :size, :size] = mask
    return wide


def _with_prefix(mask: Tensor, lengths: Tensor, most: int) -> Tensor:
    """SGLang's full mask: for each request its rows, over prefix and tree, flattened.

    What follows, where ``most`` is more than the sum of ``lengths``, nobody reads.
    """
    batch, width, _ = mask.shape
    whole = torch.ones(width * (most + batch * width), dtype=torch.bool, device=mask.device)
    columns = lengths + width
    starts = width * (columns.cumsum(0) - columns)
    at = torch.arange(width, device=mask.device)
    rows = starts[:, None] + at * columns[:, None] + lengths[:, None]
    whole[rows[:, :, None] + at] = mask
    return whole
