"""Verification: the stock sampler at every row that the accepted path visits, and only there.

Drawing level by level, one row a request, keeps the request's own parameters, its generator and its
logits processors in their places: a seeded request draws exactly the numbers that it would draw
without speculation, so its output is the same token for token. Rules that run along the text
(penalties, bad words, minimum lengths, thinking budgets) read it where the engine keeps it, and
meanwhile it is longer by what has been accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from vllm.v1.outputs import LogprobsTensors, SamplerOutput

from proposers.acceptance import Walk, greedy_walk, walk
from proposers.tree import DraftTrees
from proposers.visits import Visits

Texts = Sequence[list[int] | None]
"""Each request's answer so far, the very lists that the engine's rules look at."""

Rows = Callable[[Tensor], Tensor]
"""From indices of rows ``[n]`` to their logits ``[n, V]``."""


def verify(
    trees: DraftTrees,
    logits: Tensor,
    later: Rows | None,
    first_rows: Tensor,
    sampler: Any,
    metadata: Any,
    texts: Texts,
    plain: bool,
) -> tuple[Walk, SamplerOutput]:
    """Accept a path of each tree.

    Args:
        trees: one per request of the batch; empty trees for undrafted requests.
        logits: ``[rows, V]`` of all roots and nodes; not looked at where they come ``later``.
        later: computes those of the rows that are asked for.
        first_rows: ``[B]`` where each request's rows begin.
        sampler: vLLM's sampler.
        metadata: vLLM's sampling metadata, one entry per request.
        texts: of the requests of the batch; they come back as they were.
        plain: True if every request of the batch is greedy and wants nothing else.

    Returns:
        the walk, and vLLM's output ``[B, D + 1]`` padded with -1.
    """
    if plain:
        accepted = _greedy(trees, logits, later, first_rows, sampler)
        return accepted, SamplerOutput(accepted.tokens.int(), None)
    at = Visits(trees, first_rows, later) if later else lambda rows, _: logits[first_rows + rows]
    draws = _Draws(at, sampler, metadata, texts)
    with texts_kept(texts):
        accepted = walk(trees, draws)
    return accepted, SamplerOutput(
        accepted.tokens.int(), draws.stacked_logprobs(accepted.tokens.shape[1])
    )


def _greedy(
    trees: DraftTrees, logits: Tensor, later: Rows | None, first_rows: Tensor, sampler: Any
) -> Walk:
    def best(logits: Tensor) -> Tensor:
        tokens: Tensor = sampler.greedy_sample(logits.float())  # its CPU operator takes no others
        return tokens.long()

    if later is not None:
        visits = Visits(trees, first_rows, lambda rows: best(later(rows)))
        return walk(trees, lambda rows, active, depth: visits(rows, active))
    columns = torch.arange(trees.max_nodes + 1, device=logits.device)
    rows = (first_rows[:, None] + columns).clamp(max=logits.shape[0] - 1)
    return greedy_walk(trees, best(logits)[rows])


def one_row_each(metadata: Any) -> None:
    """Thinking budgets are forced by row: tell their holder that rows are requests, as in a server
    without drafts. It would take them for drafts of other requests, whose rows it then forces."""
    holder = getattr(metadata, "thinking_budget_state_holder", None)
    if holder is not None:
        holder.in_spec_mode = False


@contextmanager
def texts_kept(texts: Texts) -> Iterator[None]:
    """Cut the texts to their present lengths at the end."""
    lengths = [len(text or ()) for text in texts]
    try:
        yield
    finally:
        for text, length in zip(texts, lengths, strict=True):
            if text is not None:
                del text[length:]


class _Draws:
    """Draws of one step; keeps the log-probabilities along the way.

    ``logits_at`` is called with the rows and which requests walk on, and has to answer with a copy:
    the sampler works in place.
    """

    def __init__(
        self,
        logits_at: Callable[[Tensor, Tensor], Tensor],
        sampler: Any,
        metadata: Any,
        texts: Texts,
    ) -> None:
        self.logits_at, self.texts = logits_at, texts
        self.sampler = sampler
        self.metadata = replace(metadata, spec_token_ids=None)  # what is accepted is in the texts
        self.logprobs: list[LogprobsTensors] = []
        self.drawn: list[int] = []

    def __call__(self, rows: Tensor, active: Tensor, depth: int) -> Tensor:
        metadata = self.metadata
        if depth:
            running = active.nonzero().flatten().tolist()
            self.lengthen(running)
            # a finished walk must not consume random numbers
            seeded = {i: g for i, g in metadata.generators.items() if i in set(running)}
            metadata = replace(metadata, generators=seeded)
        logits = self.logits_at(rows, active)
        if metadata.max_num_logprobs == -1:  # all of them: in the sampler's sorted form
            metadata = replace(metadata, max_num_logprobs=logits.shape[1])
        output = self.sampler(logits=logits, sampling_metadata=metadata)
        if output.logprobs_tensors is not None:
            self.logprobs.append(output.logprobs_tensors)
        tokens: Tensor = output.sampled_token_ids.flatten().long()
        self.drawn = tokens.tolist()
        return tokens

    def lengthen(self, running: Sequence[int]) -> None:
        """The requests that go on have accepted what was drawn last."""
        for request in running:
            text = self.texts[request]
            if text is not None:
                text.append(self.drawn[request])
        for processor in self.metadata.logitsprocs.all:
            processor.update_state(None)  # no request has come or gone

    def stacked_logprobs(self, width: int) -> LogprobsTensors | None:
        """``[B * width, K]``, in the order of the flattened tokens; unvisited levels repeat."""
        if not self.logprobs:
            return None
        levels = self.logprobs + [self.logprobs[-1]] * (width - len(self.logprobs))
        parts = zip(*(level[:3] for level in levels), strict=True)
        return LogprobsTensors(*(torch.stack(part, dim=1).flatten(0, 1) for part in parts))
