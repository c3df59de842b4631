"""Each request's known tokens, by SGLang's request slot, where the target runs.

SGLang appends a step's tokens to the request only when the step's result is processed, under
overlapped scheduling one step later; drafting needs them at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class TokenHistory:
    """Known tokens, the root last, and which slots a proposer has followed so far.

    Attributes:
        tokens: ``[slots, columns]`` token ids, of the shape of SGLang's own table of KV, which has
            room for a whole step at the length limit.
        known: ``[slots]`` int64, how many of them are known.
        new: ``[slots]`` int64, how many of them came with the last step.
    """

    def __init__(self, table: Tensor) -> None:
        self.tokens = torch.zeros_like(table)
        self.known = torch.zeros(len(table), dtype=torch.int64, device=table.device)
        self.new = torch.zeros_like(self.known)
        self._owners: dict[int, Any] = {}  # not ids of requests: clients may use them again
        self._followed: set[int] = set()

    def begin(self, batch: Any, roots: Tensor) -> None:
        """After a prefill: the requests' own tokens, and the tokens ``[B]`` drawn behind them."""
        for request, slot in zip(batch.reqs, batch.req_pool_indices_cpu.tolist(), strict=True):
            self._write(request, slot)
        self.extend(batch, roots[:, None], torch.ones_like(roots))

    def extend(self, batch: Any, tokens: Tensor, counts: Tensor) -> None:
        """Append the first ``counts[b]`` of ``tokens [B, D]``; the others lie behind all known."""
        slots = batch.req_pool_indices.long()
        at = self.known[slots, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self.tokens[slots[:, None], at] = tokens.clamp(min=0).to(self.tokens.dtype)
        self.new[slots] = counts.long()
        self.known[slots] += counts.long()

    def settle(self, batch: Any) -> None:
        """Take requests that were not prefilled here from SGLang's own record. Reads no device.

        Raises:
            RuntimeError: the tokens are not those of the request's KV.
        """
        slots, lengths = batch.req_pool_indices_cpu.tolist(), batch.seq_lens_cpu.tolist()
        for request, slot, length in zip(batch.reqs, slots, lengths, strict=True):
            if self._owners.get(slot) is request:
                continue
            if (found := self._write(request, slot)) != length + 1:
                raise RuntimeError(f"request {request.rid} has {found} tokens, KV of {length}")

    def follow(self, batch: Any) -> list[int]:
        """Rows of the batch that are drafted for the first time, or again after a pause."""
        slots = batch.req_pool_indices_cpu.tolist()
        rows = [row for row, slot in enumerate(slots) if slot not in self._followed]
        self._followed.update(slots)
        return rows

    def pause(self, batch: Any) -> None:
        """Nothing is drafted in this step, whatever tokens come of it."""
        self._followed.difference_update(batch.req_pool_indices_cpu.tolist())

    def roots(self, batch: Any) -> Tensor:
        """``[B]`` int64 the tokens that the target has drawn but not yet seen."""
        return self.tokens[batch.req_pool_indices.long(), batch.seq_lens.long()].long()

    def _write(self, request: Any, slot: int) -> int:
        """Take SGLang's own record of a request; return how many tokens it has."""
        parts = [np.asarray(request.origin_input_ids), np.asarray(request.output_ids)]
        held = torch.from_numpy(np.concatenate(parts).astype(np.int64))
        self.tokens[slot, : len(held)] = held.to(self.tokens)
        self.known[slot], self.new[slot] = len(held), 1
        self._owners[slot] = request
        self._followed.discard(slot)
        return len(held)
