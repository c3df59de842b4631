"""The proposer contract: what a proposer is given, and the draft trees that it returns.

Nothing here knows an engine. An adapter (or the offline engine) builds a :class:`TargetModel` once
and a :class:`DraftContext` per step; a proposer answers with :class:`~proposers.tree.DraftTrees`.
All that changes from step to step is in tensors, so a step can run ahead of the host or be captured
in a graph; what a proposer keeps of a request it keeps by *slot*, a row that is the request's own
as long as it lives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .rotary import Rotary
from .sharding import WHOLE, Shard
from .tree import DraftTrees, from_parents


@dataclass(frozen=True)
class TargetShape:
    """The sizes a draft must agree with, and the target's rotary embedding.

    Attributes:
        max_position_embeddings: positions that requests may have.
        rope: the keys of its ``config.json`` that tell its rotary embedding
            (:data:`proposers.rotary.KEYS`); None where nobody tells.
    """

    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TargetModel:
    """The frozen pieces of the target that a draft model borrows.

    Attributes:
        shape: sizes of the whole target.
        embedding: ``[V, H]`` input embedding.
        head: ``[V, H]`` output head.
        final_norm: ``[H]`` weight of the norm before the head.
        shard: under tensor parallelism, this process's part. Of embedding and head it then has
            ``[n, H]``, the ``shard.rank``-th ``n`` rows; what lies behind ``V`` is padding. Of the
            KV cache, and of queries to it, it has its part of the heads.
        rotary: what the target turns by, where it hangs on the context; None where the shape tells
            it all.
    """

    shape: TargetShape
    embedding: Tensor
    head: Tensor
    final_norm: Tensor
    shard: Shard = field(default=WHOLE, kw_only=True)
    rotary: Rotary | None = field(default=None, kw_only=True)


class TargetKV(Protocol):
    """The target's last-layer keys and values, as something to attend to."""

    def attend(self, query: Tensor) -> Tensor:
        """Attention of ``query`` over the verified tokens before the root, not causal.

        Args:
            query: ``[B, W, heads, head_dim]``, rotated at each row's own position.

        Returns:
            ``[B, W, heads, head_dim]``; grouped KV heads and the scale ``head_dim ** -0.5`` are
            the implementation's business.
        """
        ...


@dataclass(frozen=True)
class DraftContext:
    """One drafting step for ``B`` requests; all tensors lie on the target's device.

    Attributes:
        slots: ``[B]`` int64, each request's slot: its own until it ends, then another's.
        token_ids: ``[R, L]`` token ids in any integer type, one line a request.
        rows: ``[B]`` int64, each request's line of ``token_ids``.
        lengths: ``[B]`` int64, how many tokens of its line are known. The last of them is the root,
            which the target has drawn but not yet seen.
        num_new: ``[B]`` int64, how many of them came since the request was last drafted.
        most_new: the most that ``num_new`` can be, as the host knows it.
        hidden_states: ``[B, H]`` the target's last hidden state (after the final norm) at the token
            before the root, or None where the engine has none.
        target_kv: the target's last-layer KV of all tokens before the root.
        budgets: ``[B]`` int64, the most nodes each tree may have; none where it is 0. Trees are cut
            to it in any case; who heeds it chooses the nodes.
        static: nothing may be read back from the device: the host runs ahead of it, or the step is
            captured in a graph. Shapes then depend on options alone.
        limited: budgets follow the load: they may be smaller than trees at any time, not only where
            a text ends.
        least: the log-probability under which a path is not worth a row of the target's forward at
            this load. Trees are cut to it in any case if it is told; static steps tell none.
        cheap: the load allows no forward of a draft model, only what is found without one.
        scopes: ``[B]`` int64: requests of the same number may be drafted from each other's answers,
            those of 0 from nobody's; None: all are of 0.
    """

    slots: Tensor
    token_ids: Tensor
    rows: Tensor
    lengths: Tensor
    num_new: Tensor
    most_new: int
    hidden_states: Tensor | None
    target_kv: TargetKV
    budgets: Tensor
    static: bool = False
    limited: bool = False
    least: float = float("-inf")
    cheap: bool = False
    scopes: Tensor | None = None

    def roots(self) -> Tensor:
        """``[B]`` int64 the roots' tokens."""
        return self.token_ids[self.rows, self.lengths - 1].long()

    def recent(self, count: int) -> tuple[Tensor, Tensor]:
        """The last ``count`` known tokens and their positions, ``[B, count]`` int64 each.

        A shorter request has its first token again in front.
        """
        back = torch.arange(1 - count, 1, device=self.lengths.device)
        positions = (self.lengths[:, None] - 1 + back).clamp(min=0)
        return self.token_ids[self.rows[:, None], positions].long(), positions

    def lines(self) -> Tensor:
        """``[B, L]`` each request's line; up to the longest request where that may be read."""
        width = self.token_ids.shape[1] if self.static else int(self.lengths.max())
        return self.token_ids[self.rows, :width]

    def part(self, index: Sequence[int] | Tensor) -> DraftContext:
        """The requests in ``index``, as :meth:`Proposer.start` is given them (``target_kv`` is
        still that of all)."""
        pick = torch.as_tensor(index, dtype=torch.int64).to(self.slots.device)
        fields: dict[str, Any] = {name: getattr(self, name)[pick] for name in _BY_REQUEST}
        for name in _IF_THERE:
            there = getattr(self, name)
            fields[name] = None if there is None else there[pick]
        return replace(self, **fields)


_BY_REQUEST = ("slots", "rows", "lengths", "num_new", "budgets")
_IF_THERE = ("hidden_states", "scopes")


class Proposer:
    """A drafting method. Any deterministic proposal keeps the output exact.

    A class is built as ``ProposerClass(draft_dir, options)``, so that a bad draft or option is
    refused before the target loads; ``bind`` follows once, when the target's weights are there.

    Attributes:
        max_nodes: the most nodes of a tree that :meth:`propose` returns.
        max_depth: the most levels of such a tree.
        host: :meth:`propose` reads the device (:class:`HostProposer`), so it is never captured, and
            the host waits for it.
        cheaper: :meth:`propose` heeds ``context.cheap``: it has something to offer without a draft
            model's forward.
        sharded: :meth:`bind` heeds ``target.shard``, and all ranks propose the same trees. (What a
            host's processes propose need not be the same: the first one's counts.)
    """

    max_nodes: int
    max_depth: int
    host = False
    cheaper = False
    sharded = False

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def check_target(self, shape: TargetShape) -> None:
        """Raise ValueError, in one line, if this draft does not fit the target."""

    @property
    def borrows(self) -> bool:
        """Whether :meth:`bind` is of the proposer's own: it takes the target's weights. For others
        any target will do, and it is never called."""
        return type(self).bind is not Proposer.bind

    def bind(self, target: TargetModel, requests: int = 1) -> None:
        """Take the target's weights; called once, before all below.

        Args:
            requests: how many slots to make room for at once. More may come up in :meth:`start`
                unless steps are static.
        """

    def held(self) -> int:
        """Bytes that are kept for requests, as many as there is room for, used or not."""
        return 0

    def start(self, context: DraftContext) -> None:
        """The requests of ``context`` are drafted for the first time in their slots, or for the
        first time after a pause: make what is kept of them. Called before :meth:`propose`, outside
        of graphs."""

    def propose(self, context: DraftContext) -> DraftTrees:
        """Draft one tree per request."""
        raise NotImplementedError


class HostProposer(Proposer):
    """The base of proposers that draft in Python: a method :meth:`draft` is all that they need.

    Token ids are read from the device at every step, which an engine on a GPU has to wait for. As
    no probability is told, each node is held for less likely than those before it.
    """

    host = True
    sharded = True

    def draft(self, tokens: np.ndarray, budget: int) -> tuple[list[int], list[int]]:
        """Draft one tree.

        Args:
            tokens: ``[n]`` int64 known tokens of one request, the root last.
            budget: the most nodes (at least 1).

        Returns:
            tokens and parents of the nodes, parents first; -1 is the root.
        """
        raise NotImplementedError

    def propose(self, context: DraftContext) -> DraftTrees:
        lengths, budgets = context.lengths.tolist(), context.budgets.tolist()
        width = max(lengths, default=0)
        lines = context.token_ids[context.rows, :width].cpu().numpy().astype(np.int64)
        drafts = [
            self.draft(line[:length], budget) if budget > 0 else ([], [])
            for line, length, budget in zip(lines, lengths, budgets, strict=True)
        ]
        scores = [[-math.log(place + 2) for place in range(len(nodes))] for nodes, _ in drafts]
        trees = from_parents([nodes for nodes, _ in drafts], [above for _, above in drafts], scores)
        return trees.to(context.slots.device)
