"""The proposer contract: what a proposer is given, and the draft trees that it returns.

Nothing here knows an engine. An adapter (or the offline engine) builds a :class:`TargetModel` once
and a :class:`DraftContext` per step; a proposer answers with :class:`~proposers.tree.DraftTrees`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from .tree import DraftTrees


@dataclass(frozen=True)
class TargetShape:
    """The sizes a draft must agree with, and the target's rotary embedding."""

    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int


@dataclass(frozen=True)
class TargetModel:
    """The frozen pieces of the target that a draft model borrows.

    Attributes:
        shape: sizes of the target.
        embedding: ``[V, H]`` input embedding.
        head: ``[V, H]`` output head.
        final_norm: ``[H]`` weight of the norm before the head.
    """

    shape: TargetShape
    embedding: Tensor
    head: Tensor
    final_norm: Tensor


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
    """One drafting step for ``B`` requests.

    Attributes:
        request_ids: stable names, so that a proposer may keep what it can always recompute.
        token_ids: per request its verified token ids, a 1-d int array; the last one is the root,
            which the target has drawn but not yet seen.
        hidden_states: ``[B, H]`` the target's last hidden state (after the final norm) at the token
            before the root, or None where the engine has none.
        target_kv: the target's last-layer KV of all tokens before the root.
        budgets: ``[B]`` int64, the most nodes each tree may have (at least 1).
    """

    request_ids: Sequence[Hashable]
    token_ids: Sequence[np.ndarray]
    hidden_states: Tensor | None
    target_kv: TargetKV
    budgets: Tensor


@runtime_checkable
class Proposer(Protocol):
    """A drafting method. Any deterministic proposal keeps the output exact.

    A class is built as ``ProposerClass(draft_dir, options)``, so that a bad draft or option is
    refused before the target loads; ``bind`` follows once, when the target's weights are there.
    """

    max_nodes: int
    """The most nodes of a tree that :meth:`propose` returns."""
    max_depth: int
    """The most levels of such a tree."""

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None: ...

    def check_target(self, shape: TargetShape) -> None:
        """Raise ValueError, in one line, if this draft does not fit the target."""
        ...

    def bind(self, target: TargetModel) -> None:
        """Take the target's weights; called once, before :meth:`propose`."""
        ...

    def propose(self, context: DraftContext) -> DraftTrees:
        """Draft one tree per request, no larger than ``context.budgets``."""
        ...

    def forget(self, request_id: Hashable) -> None:
        """Drop what is kept for a request that has ended."""
        ...
