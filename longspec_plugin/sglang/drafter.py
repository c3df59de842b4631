"""From SGLang's batch to a proposer's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proposers.base import DraftContext, Proposer, TargetKV, TargetModel
from proposers.tree import DraftTrees, from_parents

from ..errors import LongSpecError
from .gates import draftable, target_shape


class TokenBook:
    """Each request's verified tokens, the root last.

    SGLang appends a step's tokens to the request only when the step's result is processed, under
    overlapped scheduling one step later; drafting needs them at once.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, np.ndarray] = {}

    def start(self, request: Any, root: int) -> None:
        """After a prefill: the request's own tokens, and the token drawn behind them."""
        held = np.concatenate(
            [np.asarray(request.origin_input_ids), np.asarray(request.output_ids)]
        )
        self._tokens[request.rid] = np.append(held.astype(np.int64), root)

    def extend(self, request: Any, tokens: Sequence[int]) -> None:
        self._tokens[request.rid] = np.concatenate([self._tokens[request.rid], tokens])

    def of(self, request: Any, length: int) -> np.ndarray:
        """The tokens; ``length`` of them are verified before the root."""
        held = self._tokens.get(request.rid)
        if held is None or len(held) != length + 1:  # not prefilled here: take SGLang's own record
            self.start(request, 0)
            held = self._tokens[request.rid] = self._tokens[request.rid][:-1]
        if len(held) != length + 1:
            raise RuntimeError(f"request {request.rid} has {len(held)} tokens, KV of {length}")
        return held

    def keep_only(self, requests: set[str]) -> list[str]:
        """Drop all other requests; return the dropped."""
        gone = [request for request in self._tokens if request not in requests]
        for request in gone:
            del self._tokens[request]
        return gone


class TreeDrafter:
    """Holds the proposer, and what SGLang does not keep for it between steps."""

    def __init__(self, proposer: Proposer, runner: Any) -> None:
        self.proposer = proposer
        self.runner = runner
        self.book = TokenBook()
        self.max_length = int(runner.model_config.context_len)
        self.hidden: Tensor | None = None
        proposer.bind(target_model(runner.model, runner.model_config))

    def remember_hidden(self, request_slots: Tensor, states: Tensor) -> None:
        """Keep the target's states ``[B, H]`` at the last verified tokens, by request slot."""
        if self.hidden is None:
            slots = self.runner.req_to_token_pool.req_to_token.shape[0]
            self.hidden = states.new_zeros(slots, states.shape[1])
        self.hidden[request_slots] = states

    def draft(self, batch: Any, target_kv: Callable[[Tensor], TargetKV]) -> DraftTrees:
        """One tree per request of the batch; empty ones for those that may have none.

        Args:
            target_kv: from indices of the batch to the last layer's KV of these requests.
        """
        lengths = batch.seq_lens_cpu.tolist()
        rooms = [self._room(request, n) for request, n in zip(batch.reqs, lengths, strict=True)]
        rows = [row for row, room in enumerate(rooms) if room > 0]
        if not rows:
            return from_parents([[]] * len(rooms), [[]] * len(rooms)).to(batch.seq_lens.device)
        index = torch.tensor(rows, device=batch.seq_lens.device)
        context = DraftContext(
            request_ids=[batch.reqs[row].rid for row in rows],
            token_ids=[self.book.of(batch.reqs[row], lengths[row]) for row in rows],
            hidden_states=None
            if self.hidden is None
            else self.hidden[batch.req_pool_indices[index]],
            target_kv=target_kv(index),
            budgets=torch.tensor([rooms[row] for row in rows]),
        )
        trees = self.proposer.propose(context)
        return _spread(trees, rows, len(rooms))

    def roots(self, batch: Any) -> Tensor:
        """``[B]`` the tokens that the target has drawn but not yet seen."""
        lengths = batch.seq_lens_cpu.tolist()
        pairs = zip(batch.reqs, lengths, strict=True)
        roots = [int(self.book.of(request, length)[-1]) for request, length in pairs]
        return torch.tensor(roots, device=batch.seq_lens.device)

    def keep_only(self, requests: set[str]) -> None:
        """Forget requests that have left."""
        for request in self.book.keep_only(requests):
            self.proposer.forget(request)

    def _room(self, request: Any, length: int) -> int:
        """Nodes that this request's tree may have; none reaches behind the length limit."""
        if not draftable(request):
            return 0
        return min(self.proposer.max_nodes, self.max_length - length - 2)


def _spread(trees: DraftTrees, rows: Sequence[int], batch: int) -> DraftTrees:
    """Trees of ``rows`` in their places among ``batch`` requests, empty ones elsewhere."""
    if len(rows) == batch:
        return trees
    place = {row: at for at, row in enumerate(rows)}
    whole = trees.rows([place.get(row, 0) for row in range(batch)])
    none = torch.tensor([trees.max_nodes if row in place else 0 for row in range(batch)])
    return whole.truncated(none)


def target_model(model: Any, config: Any) -> TargetModel:
    """Embedding, head and final norm of SGLang's model; all three as they lie in memory."""
    shape = target_shape(config)
    try:
        embedding, head = model.get_embed_and_head()
        norm = model.model.norm.weight
    except AttributeError as error:
        raise LongSpecError(
            f"the target {type(model).__name__} keeps its weights elsewhere ({error});"
            " allowed: Llama-like decoder models"
        ) from error
    vocab = shape.vocab_size
    return TargetModel(shape, embedding[:vocab].detach(), head[:vocab].detach(), norm.detach())
