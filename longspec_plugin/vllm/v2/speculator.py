"""Drafting: a proposer's trees for all requests of a batch, from the device to the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.worker.gpu.spec_decode.speculator import BaseSpeculator

from proposers.attention.paged_triton import PagedKV
from proposers.base import DraftContext, Proposer, TargetModel
from proposers.tree import DraftTrees

from .attention import Views
from .topology import TreeTopology


class TreeSpeculator(BaseSpeculator):
    """Holds the proposer; what it is given lies in buffers, filled for each step.

    Attributes:
        last_logit_rows: ``[B]`` among the rows of this step that have logits, each request's last
            accepted one; None where nothing was drafted.
    """

    supports_mm_inputs = False
    draft_logits = None
    pcp_manager: Any = None

    def __init__(self, proposer: Proposer, runner: Any, views: Views) -> None:
        self.proposer, self.runner, self.views = proposer, runner, views
        requests, device = runner.max_num_reqs, runner.device
        nodes, levels = proposer.max_nodes, proposer.max_depth
        self.topology = TreeTopology(requests, nodes, levels, device)
        self.draftable = torch.zeros(requests, dtype=torch.bool, device=device)
        self.slots, self.lengths, self.num_new, self.budgets = torch.zeros(
            4, requests, dtype=torch.int64, device=device
        )
        self.drafts = torch.zeros(requests, nodes, dtype=torch.int64, device=device)
        self.prefix = torch.zeros(requests, dtype=torch.int32, device=device)
        self.last_logit_rows: Tensor | None = None

    def bind(self, target: TargetModel, last_layer: Any) -> None:
        """Hand over the target's weights; ``last_layer`` is vLLM's, its cache follows later."""
        self.last_layer, self.shard = last_layer, target.shard
        self.hidden = target.embedding.new_zeros(len(self.slots), target.shape.hidden_size)
        self.proposer.bind(target, len(self.slots))

    def init_cudagraph_manager(self, cudagraph_mode: Any) -> None:
        """Drafting is not captured yet."""

    def capture(self) -> None:
        """Drafting is not captured yet."""

    def admit(self, slot: int, drafted: bool) -> None:
        """A request takes a slot; whether it may be drafted."""
        self.draftable[slot] = drafted

    def propose(
        self,
        input_batch: Any,
        attn_metadata: Any,
        slot_mappings: Any,
        last_hidden_states: Tensor,
        aux_hidden_states: Any,
        num_sampled: Tensor,
        *args: Any,
        dummy_run: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        """Draft tokens ``[B, nodes]`` int64 of every request; what is no node is token 0."""
        count = input_batch.num_reqs
        if dummy_run:
            return self.drafts[:count].zero_()
        self.stage(input_batch, last_hidden_states, num_sampled)
        context = self.context(count)
        if fresh := prefilled(input_batch):
            self.proposer.start(context.part(fresh))
        self.draft(context)
        return self.drafts[:count]

    def stage(self, input_batch: Any, hidden_states: Tensor, num_sampled: Tensor) -> None:
        """Fill the buffers for this step. Requests that sampled nothing get no tree."""
        count, slots = input_batch.num_reqs, input_batch.idx_mapping
        rows = self.last_logit_rows
        if rows is None:
            rows = input_batch.cu_num_logits[1 : count + 1].long() - 1
        self.last_logit_rows = None
        known = self.runner.req_states.total_len.gpu[slots].long()
        drafted = (num_sampled > 0) & self.draftable[slots]
        room = (self.runner.max_model_len - 1 - known).clamp(0, self.topology.nodes)
        self.slots[:count] = slots
        self.lengths[:count] = torch.where(drafted, known, 1)
        self.prefix[:count] = self.lengths[:count] - 1
        self.num_new[:count] = num_sampled
        self.budgets[:count] = torch.where(drafted, room, 0)
        self.hidden[:count] = hidden_states[input_batch.logits_indices[rows].long()]

    def context(self, count: int) -> DraftContext:
        """The buffers of ``count`` requests, as a proposer is given them."""
        table = self.runner.block_tables.input_block_tables[0][:count]
        keys, values = self.views(self.last_layer.kv_cache)
        scale = self.last_layer.impl.scale
        slots = self.slots[:count]
        return DraftContext(
            slots=slots,
            token_ids=self.runner.req_states.all_token_ids.gpu,
            rows=slots,
            lengths=self.lengths[:count],
            num_new=self.num_new[:count],
            most_new=1 + self.topology.levels,
            hidden_states=self.hidden[:count],
            target_kv=PagedKV(keys, values, self.prefix[:count], table, scale),
            budgets=self.budgets[:count],
            static=not self.proposer.host,
        )

    def draft(self, context: DraftContext) -> None:
        """From the buffers to ``drafts`` and the topology; reads nothing back."""
        trees = self.proposer.propose(context)
        if self.proposer.host:
            trees = self.shard.agreed(trees, self.topology.nodes)
        trees = trees.truncated(context.budgets)
        self.topology.write(context.slots, trees)
        self.keep(trees)

    def keep(self, trees: DraftTrees) -> None:
        """Write the tokens where vLLM takes them from."""
        batch, width = trees.tokens.shape
        self.drafts[:batch].zero_()  # vLLM writes -1 into it, which is no token
        self.drafts[:batch, :width] = trees.tokens.masked_fill(~trees.valid(), 0)


def prefilled(input_batch: Any) -> list[int]:
    """Requests of the batch whose prefill ends with this step, known to the host."""
    done = input_batch.num_computed_prefill_tokens_np + input_batch.num_scheduled_tokens
    ended = input_batch.is_prefilling_np & (done >= input_batch.prefill_len_np)
    rows: list[int] = ended.nonzero()[0].tolist()
    return rows
