"""Verification: the stock sampler at every row that the accepted path visits, and only there.

Drawing level by level, one row a request, keeps each request's own sampling parameters and logprobs
in their places: to SGLang's sampler each level is an ordinary decode. What runs along the text is
kept up with it (:mod:`.rules`).
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.layers.logits_processor import LogitsProcessorOutput
from torch import Tensor

from proposers.acceptance import Walk, greedy_walk, walk
from proposers.tree import DraftTrees

from .drafter import TreeDrafter
from .history import TokenHistory
from .rules import rules_of


def verify(
    trees: DraftTrees,
    logits: Tensor,
    batch: Any,
    runner: Any,
    output: Any,
    drafter: TreeDrafter,
) -> Walk:
    """Accept a path of each tree; logprobs of emitted tokens go to ``output``, as SGLang's own do.

    Args:
        trees: one per request; empty for undrafted requests.
        logits: ``[B, width, V]`` of all rows.
        batch: SGLang's ``ScheduleBatch``.
        runner: SGLang's ``ModelRunner``.
        output: the step's ``LogitsProcessorOutput``.
        drafter: knows the requests' tokens, and whether the device may be read.
    """
    if is_plain(batch):
        return greedy_walk(trees, logits.argmax(-1), drafter.static)
    draws = _Draws(logits, batch, runner, drafter.history)
    try:
        accepted = walk(trees, draws, drafter.static)
    finally:
        draws.restore()
    if batch.return_logprob:
        draws.write_logprobs(output, accepted.tokens.shape[1])
    return accepted


def is_plain(batch: Any) -> bool:
    """Whether every request takes the likeliest token and wants nothing else."""
    info = batch.sampling_info
    changed = ("acc_additive_penalties", "acc_scaling_penalties", "logit_bias", "grammars")
    return bool(
        info.is_all_greedy
        and not batch.return_logprob
        and not batch.has_grammar
        and not info.has_custom_logit_processor
        and all(getattr(info, name, None) is None for name in changed)
    )


class _Draws:
    """Draws of one step; keeps the log-probabilities along the way."""

    def __init__(self, logits: Tensor, batch: Any, runner: Any, history: TokenHistory) -> None:
        self.logits, self.batch, self.runner = logits, batch, runner
        self.requests = torch.arange(len(logits), device=logits.device)
        self.levels: list[Any] = []
        self.rules = rules_of(batch, history)
        self.drawn: list[int] = []

    def __call__(self, rows: Tensor, active: Tensor, depth: int) -> Tensor:
        batch, info = self.batch, self.batch.sampling_info
        if depth and self.rules:
            self._lengthen(active.nonzero().flatten().tolist())
        # indexing copies: the sampler works in place
        output = LogitsProcessorOutput(next_token_logits=self.logits[self.requests, rows])
        for rule in self.rules:
            rule.apply(info)
        info.update_regex_vocab_mask()
        info.apply_logits_bias(output.next_token_logits)  # penalties, grammar mask, logit bias
        info.grammar_mask = None
        tokens: Tensor = self.runner.sampler(
            output,
            info,
            batch.return_logprob,
            batch.top_logprobs_nums,
            batch.token_ids_logprobs,
            batch.seq_lens + depth,
        )
        self.levels.append(output)
        if self.rules:
            self.drawn = tokens.tolist()
        return tokens.long()

    def _lengthen(self, running: list[int]) -> None:
        """The requests that go on have accepted what was drawn last."""
        for rule in self.rules:
            rule.lengthen(running, [self.drawn[row] for row in running])

    def restore(self) -> None:
        """Leave SGLang's own objects as they were before the walk."""
        for rule in self.rules:
            rule.restore()

    def write_logprobs(self, output: Any, width: int) -> None:
        """``[B, width]`` and its flattened lists, request by request; unvisited levels repeat."""
        levels = self.levels + [self.levels[-1]] * (width - len(self.levels))
        found = [level.next_token_logprobs for level in levels]
        output.next_token_logprobs = torch.stack(found, dim=1)
        for name in ("top_logprobs", "token_ids_logprobs"):
            for part in ("val", "idx"):
                field = f"next_token_{name}_{part}"
                lists = [getattr(level, field) for level in levels]
                if lists[0]:
                    by_request = zip(*lists, strict=True)
                    setattr(output, field, [one for group in by_request for one in group])
