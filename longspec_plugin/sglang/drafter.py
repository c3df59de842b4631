"""From SGLang's batch to a proposer's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from proposers.base import DraftContext, Proposer, TargetKV, TargetModel
from proposers.tree import DraftTrees, from_parents

from ..errors import LongSpecError
from ..scopes import scope
from ..undrafted import Undrafted
from .gates import target_shape
from .history import TokenHistory
from .rules import refused


class TreeDrafter:
    """Holds the proposer, and what SGLang does not keep for it between steps.

    Attributes:
        slots: that are there for requests at most.
        static: nothing is read off the device while requests decode.
    """

    def __init__(self, proposer: Proposer, runner: Any, requests: int, static: bool) -> None:
        self.proposer = proposer
        self.static = static and not proposer.host
        self.runner = runner
        self.max_length = int(runner.model_config.context_len)
        self.hidden: Tensor | None = None
        self.undrafted = Undrafted("sglang.longspec")
        self.slots = 1 + requests  # the first one is padding
        if proposer.borrows:
            room = self.slots if self.static else 1
            proposer.bind(target_model(runner.model, runner.model_config), room)

    @cached_property
    def history(self) -> TokenHistory:
        """Made with the first request: SGLang allocates its pools after this object."""
        table = self.runner.req_to_token_pool.req_to_token
        if self.static and len(table) > self.slots:
            raise LongSpecError(
                f"SGLang has {len(table)} slots for requests, expected at most {self.slots};"
                " give --max-running-requests"
            )
        return TokenHistory(table)

    def remember_hidden(self, request_slots: Tensor, states: Tensor) -> None:
        """Keep the target's states ``[B, H]`` at the last verified tokens, by request slot."""
        if self.hidden is None:
            self.hidden = states.new_zeros(len(self.history.known), states.shape[1])
        self.hidden[request_slots] = states

    def draft(self, batch: Any, target_kv: Callable[[Any], TargetKV]) -> DraftTrees:
        """One tree per request of the batch; empty ones for those that may have none.

        Args:
            target_kv: from the batch to the last layer's KV of its requests.
        """
        self.history.settle(batch)
        lengths = batch.seq_lens_cpu.tolist()
        rooms = [self._room(request, n) for request, n in zip(batch.reqs, lengths, strict=True)]
        if not any(rooms):
            self.history.pause(batch)
            return from_parents([[]] * len(rooms), [[]] * len(rooms)).to(batch.seq_lens.device)
        context = self._context(batch, rooms, target_kv(batch))
        if begun := self.history.follow(batch):
            self.proposer.start(context.part(begun))
        return self.proposer.propose(context).truncated(context.budgets)

    def _context(self, batch: Any, rooms: Sequence[int], target_kv: TargetKV) -> DraftContext:
        slots = batch.req_pool_indices.long()
        new = self.history.new[slots]
        scopes = [scope(getattr(request, "cache_salt", None)) for request in batch.reqs]
        return DraftContext(
            slots=slots,
            token_ids=self.history.tokens,
            rows=slots,
            lengths=batch.seq_lens.long() + 1,
            num_new=new,
            most_new=1 + self.proposer.max_depth if self.static else int(new.max()),
            hidden_states=None if self.hidden is None else self.hidden[slots],
            target_kv=target_kv,
            budgets=torch.tensor(rooms, device=slots.device),
            static=self.static,
            scopes=torch.tensor(scopes, device=slots.device) if any(scopes) else None,
        )

    def _room(self, request: Any, length: int) -> int:
        """Nodes that this request's tree may have; none reaches behind the length limit."""
        if why := refused(request):
            if not getattr(request, "longspec_told", False):
                request.longspec_told = True
                self.undrafted.note(why)
            return 0
        return max(min(self.proposer.max_nodes, self.max_length - length - 2), 0)


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
