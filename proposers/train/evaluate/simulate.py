"""Simulated verification of a draft on stored answers: no target forward is needed.

The served proposer itself grows each tree, at the true context of each step, and the walk follows
the target's own greedy answer: as greedy serving would, up to rounding of the target's logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...acceptance import Walk, greedy_walk
from ...attention import masked_attention
from ...base import DraftContext, Proposer
from ...tree import DraftTrees
from .sequences import Answer
from .tally import BINS, Tally, binned

UNKNOWN = 1 << 40
"""No token: what the target would have said past the end of its answer."""


@dataclass(frozen=True)
class CachedKV:
    """The target's last-layer cache ``[B, kv_heads, K, d]``, of which ``known[b]`` tokens exist."""

    keys: Tensor
    values: Tensor
    known: Tensor

    def attend(self, query: Tensor) -> Tensor:
        seen = torch.arange(self.keys.shape[2], device=query.device) < self.known[:, None]
        mask = seen[:, None].expand(-1, query.shape[1], -1)
        out = masked_attention(query.transpose(1, 2), self.keys, self.values, mask)
        return out.transpose(1, 2)


class Simulation:
    """Several answers at once, each walked from its first token to its last.

    Args:
        tokens: answer tokens after which a walk ends (0: the whole answer).
        device: where the proposer's weights are.
    """

    def __init__(
        self,
        proposer: Proposer,
        answers: Sequence[Answer],
        tokens: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.proposer = proposer
        self.texts = _padded([a.tokens.long() for a in answers])
        self.token_ids = self.texts.to(device)
        """The same, where the proposer reads it."""
        self.hidden = _padded([a.hidden for a in answers]).to(device)
        self.keys = _padded([a.keys for a in answers]).transpose(1, 2).to(device)
        self.values = _padded([a.values for a in answers]).transpose(1, 2).to(device)
        self.length = torch.tensor([len(a.tokens) for a in answers])
        self.root = torch.tensor([a.prompt_len for a in answers])
        self.end = torch.tensor([a.prompt_len + a.walked(tokens) for a in answers])
        batch = len(answers)
        self.drafted = torch.zeros(batch, dtype=torch.long)
        """Tokens that were known when an answer was last drafted."""
        self.counts = torch.zeros(batch, 4, dtype=torch.long)
        """Steps, accepted tokens, nodes, steps without a draft."""
        self.reached = torch.zeros(batch, proposer.max_depth, dtype=torch.long)
        self.node_bins = torch.zeros(batch, BINS, 3, dtype=torch.float64)
        self.path_bins = torch.zeros(batch, BINS, 3, dtype=torch.float64)
        self.seconds: list[float] = []
        """Wall time of each call of the proposer."""

    @torch.inference_mode()
    def run(self, advance: Callable[[int], None] = lambda tokens: None) -> list[Tally]:
        """Walk all answers to their ends; ``advance`` is told of tokens as they are walked."""
        while bool((active := self.root + 1 < self.end).any()):
            before = self.root.minimum(self.end).sum()
            self.step(active.nonzero()[:, 0])
            advance(int(self.root.minimum(self.end).sum() - before))
        return self.tallies()

    def step(self, rows: Tensor) -> None:
        """One verify step of the answers ``rows``."""
        root = self.root[rows]
        began = time.perf_counter()
        trees = self._draft(rows, root)
        self.seconds.append(time.perf_counter() - began)
        walk = greedy_walk(trees, self._following(rows, root, trees))
        self._count(rows, root, trees, walk)
        self.root[rows] += walk.accepted + 1

    def _draft(self, rows: Tensor, root: Tensor) -> DraftTrees:
        context = self.context(rows, root)
        first = (self.drafted[rows] == 0).nonzero()[:, 0]
        if len(first):
            self.proposer.start(context.part(first))
        self.drafted[rows] = root + 1
        trees = self.proposer.propose(context).truncated(context.budgets)
        return trees.to(torch.device("cpu"))  # waits for the device

    def context(self, rows: Tensor, root: Tensor) -> DraftContext:
        """What the proposer is given for the answers ``rows``."""
        where = rows.to(self.keys.device)
        drafted = self.drafted[rows]
        new = torch.where(drafted > 0, root + 1 - drafted, 1)
        known = int(root.max())
        keys, values = (
            (part if len(rows) == len(part) else part[where])[:, :, :known]
            for part in (self.keys, self.values)
        )
        lengths = root.to(where.device) + 1
        return DraftContext(
            slots=where,
            token_ids=self.token_ids,
            rows=where,
            lengths=lengths,
            num_new=new.to(where.device),
            most_new=int(new.max()),
            hidden_states=self.hidden[where, lengths - 2],
            target_kv=CachedKV(keys, values, lengths - 1),
            budgets=torch.full_like(lengths, self.proposer.max_nodes),
        )

    def _following(self, rows: Tensor, root: Tensor, trees: DraftTrees) -> Tensor:
        """``[B, N + 1]`` the token after each row, were it on the path."""
        depths = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), trees.depths], dim=1)
        at = root[:, None] + depths + 1
        following = self.texts[rows].gather(1, at.clamp_max(self.texts.shape[1] - 1))
        return following.masked_fill(at >= self.length[rows, None], UNKNOWN)

    def _count(self, rows: Tensor, root: Tensor, trees: DraftTrees, walk: Walk) -> None:
        empty = (trees.sizes == 0).long()
        parts = [1 - empty, walk.accepted, trees.sizes, empty]
        self.counts[rows] += torch.stack(parts, dim=1)
        self.reached[rows] += walk.accepted[:, None] > torch.arange(self.reached.shape[1])
        on_path = torch.zeros(len(rows), trees.max_nodes + 1, dtype=torch.bool)
        on_path.scatter_(1, walk.rows.clamp_min(0), True)  # padding points to the root
        scores = trees.log_probs.double()
        above = torch.cat([torch.zeros(len(rows), 1).double(), scores], dim=1)
        above = above.gather(1, trees.parents + 1)
        # what the target would have said past the answer's end is not known
        told = trees.valid() & (root[:, None] + trees.depths < self.length[rows, None])
        fair = told & on_path.gather(1, trees.parents + 1)
        self.node_bins[rows] += binned((scores - above).exp(), on_path[:, 1:], fair)
        self.path_bins[rows] += binned(scores.exp(), on_path[:, 1:], told)

    def tallies(self) -> list[Tally]:
        parts = (self.reached, self.node_bins, self.path_bins)
        rows = zip(self.counts.tolist(), *(part.tolist() for part in parts), strict=True)
        return [Tally(*counts, *rest) for counts, *rest in rows]


def _padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
