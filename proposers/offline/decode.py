"""The loop: draft, verify, accept, move; without a proposer it is plain decoding.

Counting, in one place for all three ways to generate: ``accepted`` are drafted tokens that were
accepted and emitted, ``steps`` are target forwards after prefill that a row took part in, so that
``AL = 1 + accepted / steps``; tokens behind a row's EOS or past its limit are neither emitted nor
counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..acceptance import Walk, greedy_walk, walk
from ..base import DraftContext, Proposer, TargetKV
from ..tree import DraftTrees, from_parents, select
from .target import OfflineTarget


@dataclass(frozen=True)
class Decoded:
    """What one call generated.

    Attributes:
        output_ids: ``[B, max_gen_len]`` int64, without the prompt; behind a row's EOS more EOS.
        spec_mask: ``[B, max_gen_len]`` int64, 1 where the token came from an accepted draft.
        lengths: ``[B]`` tokens of each row, its EOS included.
        accepted, steps: ``[B]`` see the module.
        accepted_at: steps that accepted at least ``i + 1`` tokens, over all rows.
        seconds: of decoding, prefill apart.
    """

    output_ids: Tensor
    spec_mask: Tensor
    lengths: Tensor
    accepted: Tensor
    steps: Tensor
    accepted_at: list[int]
    seconds: float

    @property
    def acceptance_length(self) -> float:
        """``1 + accepted / steps``, pooled; nan where prefill gave all there is."""
        steps = int(self.steps.sum())
        return 1 + int(self.accepted.sum()) / steps if steps else float("nan")


@dataclass
class Row:
    """One request: where its output goes, its tokens, and what it has used.

    ``drafted`` is how many tokens were known when it was last drafted, 0 before.
    """

    index: int
    tokens: np.ndarray
    length: int
    prompt: int
    drafted: int = 0
    steps: int = 0
    accepted: int = 0

    @property
    def known(self) -> np.ndarray:
        return self.tokens[: self.length]

    @property
    def remaining(self) -> int:
        return len(self.tokens) - self.length


class Decoding:
    """One call of a generate method, over a right-padded batch."""

    def __init__(
        self,
        target: OfflineTarget,
        input_ids: Tensor,
        lengths: Sequence[int],
        max_new: int,
        eos: Sequence[int],
        temperature: float,
        proposer: Proposer | None,
    ) -> None:
        self.target, self.proposer = target, proposer
        self.input_ids, self.prompt_lengths = input_ids, list(lengths)
        self.max_new, self.eos, self.temperature = max_new, eos, temperature
        target.rotary.reach(max(lengths) + max_new)
        self.cache = target.new_cache(len(lengths), max(lengths) + max_new)
        self.texts = torch.zeros(len(lengths), max(lengths) + max_new, dtype=torch.int64)
        self.texts[:, : input_ids.shape[1]] = input_ids[:, : self.texts.shape[1]]
        texts = self.texts.numpy()
        self.all = [Row(b, texts[b, : n + max_new], n, n) for b, n in enumerate(lengths)]
        self.rows = list(self.all)
        self.spec_mask = torch.zeros(len(lengths), max_new, dtype=torch.int64)
        self.accepted_at = [0] * (proposer.max_depth if proposer else 0)
        self.hidden = target.embedding.new_empty(0)

    @torch.inference_mode()
    def run(self) -> Decoded:
        """Prefill, then steps until every row has ended."""
        longest = max(self.prompt_lengths)
        ids = self.input_ids[:, :longest]
        logits, self.hidden = self.target.prefill(ids, self.prompt_lengths, self.cache)
        first = self._draw(logits).tolist()
        began = self._clock()
        for row, token in zip(self.rows, first, strict=True):
            self._emit(row, [token], 0)
        self._close()
        while self.rows:
            self._step()
        return self._decoded(self._clock() - began)

    def _step(self) -> None:
        bias = self.target.bias(self.cache)
        trees = self._propose(bias)
        if not trees.max_nodes:  # the row itself is in the cache then
            bias = self.target.bias(self.cache, 1)
        roots = torch.tensor([row.known[-1] for row in self.rows], device=self.target.device)
        logits, hidden = self.target.verify(roots, trees, self.cache, bias)
        found = self._accept(trees, logits)
        paths = self._emit_all(found)
        self.cache.accept(paths)
        last = torch.tensor([path[-1] for path in paths], device=hidden.device)
        self.hidden = hidden[torch.arange(len(last), device=hidden.device), last]
        self._close()

    def _propose(self, bias: Tensor | None) -> DraftTrees:
        if self.proposer is None:
            nothing: list[list[int]] = [[] for _ in self.rows]
            return from_parents(nothing, nothing).to(self.target.device)
        context = self._context(self.target.last_layer(self.cache, bias), self.proposer.max_nodes)
        new = [i for i, row in enumerate(self.rows) if not row.drafted]
        if new:
            self.proposer.start(context.part(new))
        for row in self.rows:
            row.drafted = row.length
        trees = self.proposer.propose(context).to(self.target.device)
        room = torch.tensor([row.remaining - 1 for row in self.rows], device=trees.depths.device)
        if bool((trees.depths > room[:, None]).any()):  # deeper than the row may still grow
            return select(trees, trees.depths <= room[:, None])
        return trees

    def _context(self, target_kv: TargetKV, nodes: int) -> DraftContext:
        device = self.target.device
        rows = torch.tensor([row.index for row in self.rows], device=device)
        new = [row.length - row.drafted if row.drafted else 1 for row in self.rows]
        return DraftContext(
            slots=rows,
            token_ids=self.texts.to(device),
            rows=rows,
            lengths=torch.tensor([row.length for row in self.rows], device=device),
            num_new=torch.tensor(new, device=device),
            most_new=max(new),
            hidden_states=self.hidden,
            target_kv=target_kv,
            budgets=torch.full((len(new),), nodes, device=device),
        )

    def _accept(self, trees: DraftTrees, logits: Tensor) -> Walk:
        if self.temperature == 0:
            return greedy_walk(trees, logits.argmax(-1))
        row = torch.arange(len(logits), device=logits.device)
        return walk(trees, lambda rows, active, depth: self._draw(logits[row, rows]))

    def _draw(self, logits: Tensor) -> Tensor:
        """Next tokens ``[B]`` from logits ``[B, V]``."""
        if self.temperature == 0:
            return logits.argmax(-1)
        probabilities = (logits.float() / self.temperature).softmax(-1)
        return torch.multinomial(probabilities, 1)[:, 0]

    def _emit_all(self, found: Walk) -> list[list[int]]:
        """Append each row's new tokens; return the tree rows whose KV stays."""
        paths = []
        both = zip(found.tokens.tolist(), found.rows.tolist(), found.accepted.tolist(), strict=True)
        for row, (tokens, rows, accepted) in zip(self.rows, both, strict=True):
            row.steps += 1
            self._emit(row, tokens[: accepted + 1], accepted)
            paths.append(rows[: accepted + 1])
        return paths

    def _emit(self, row: Row, tokens: list[int], accepted: int) -> None:
        """Append tokens, the first ``accepted`` of them drafted, up to the row's EOS or limit."""
        stop = next((i + 1 for i, token in enumerate(tokens) if token in self.eos), len(tokens))
        tokens = tokens[: min(stop, row.remaining)]
        accepted = min(accepted, len(tokens))
        start = row.length - row.prompt
        row.tokens[row.length : row.length + len(tokens)] = tokens
        self.spec_mask[row.index, start : start + accepted] = 1
        row.length += len(tokens)
        row.accepted += accepted
        for depth in range(accepted):
            self.accepted_at[depth] += 1

    def _ended(self, row: Row) -> bool:
        return row.remaining == 0 or int(row.known[-1]) in self.eos

    def _close(self) -> None:
        """Drop rows that have ended; the last ones take their places, so little is copied."""
        ended = [self._ended(row) for row in self.rows]
        if not any(ended):
            return
        live = [i for i, end in enumerate(ended) if not end]
        holes = [i for i in range(len(live)) if ended[i]]
        moved = dict(zip(holes, [i for i in live if i >= len(live)], strict=True))
        order = [moved.get(i, i) for i in range(len(live))]
        self.rows = [self.rows[i] for i in order]
        if order:
            self.cache.keep(order)
            self.hidden = self.hidden[order]

    def _decoded(self, seconds: float) -> Decoded:
        device = self.input_ids.device
        output = torch.full_like(self.spec_mask, self.eos[0])
        for row in self.all:
            new = row.known[row.prompt :]
            output[row.index, : len(new)] = torch.from_numpy(new)
        return Decoded(
            output.to(device),
            self.spec_mask.to(device),
            torch.tensor([row.length - row.prompt for row in self.all]),
            torch.tensor([row.accepted for row in self.all]),
            torch.tensor([row.steps for row in self.all]),
            self.accepted_at,
            seconds,
        )

    def _clock(self) -> float:
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)
        return time.perf_counter()
