"""Drafting: a proposer's trees for all requests of a batch, from the device to the device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm.v1.worker.gpu.spec_decode.speculator import BaseSpeculator

from proposers.base import DraftContext, Proposer, TargetModel
from proposers.sharding import WHOLE, Shard
from proposers.tree import DraftTrees, in_chains

from ...undrafted import Undrafted
from ..ways import Way
from .attention import Kind
from .graphs import DraftGraphs, draft_sizes
from .timing import Timing
from .topology import TreeTopology

logger = logging.getLogger("vllm.longspec")


class TreeSpeculator(BaseSpeculator):
    """Holds the proposer; what it is given lies in buffers, filled for each step.

    Buffers and topology have one slot more than there are requests: drafts for the padding of a
    graph's batch go there.

    Attributes:
        last_logit_rows: ``[B]`` among the rows of this step that have logits, each request's last
            accepted one; None where nothing was drafted.
        in_chains: ``[slots]`` bool on the host, requests whose drafts are chains.
        missed: ``[slots]`` bool on the host, requests that grew without being drafted for: what a
            proposer keeps of them is out of date.
    """

    supports_mm_inputs = False
    draft_logits = None
    pcp_manager: Any = None

    def __init__(
        self, proposer: Proposer, runner: Any, limited: bool = False, grammars: bool = False
    ) -> None:
        """``limited``: the nodes that are taken of a tree follow the batch's size; ``grammars``:
        they heed trees."""
        self.proposer, self.runner, self.limited = proposer, runner, limited
        self.grammars = grammars
        self.timing: Timing = runner.timing
        requests, device = runner.max_num_reqs, runner.device
        nodes, levels = proposer.max_nodes, proposer.max_depth
        self.topology = TreeTopology(requests + 1, nodes, levels, device)
        self.spare = requests
        self.draftable, self.chained = torch.zeros(2, requests + 1, dtype=torch.bool, device=device)
        self.in_chains = np.zeros(requests, dtype=bool)
        self.slots, self.rows, self.lengths, self.num_new, self.budgets = torch.zeros(
            5, requests, dtype=torch.int64, device=device
        )
        self.scopes = torch.zeros(requests + 1, dtype=torch.int64, device=device)
        self.drafts = torch.zeros(requests, nodes, dtype=torch.int64, device=device)
        self.prefix = torch.zeros(requests, dtype=torch.int32, device=device)
        self.missed = np.zeros(requests, dtype=bool)
        self.undrafted = Undrafted("vllm.longspec")
        self.last_logit_rows: Tensor | None = None
        self.sizes: list[int] = []
        self.graphs = DraftGraphs(self.draft_first)
        self.chain_graphs = DraftGraphs(self.draft_chains)

    def bind(
        self,
        target: Callable[[], TargetModel],
        last_layer: Any,
        kind: Kind,
        shard: Shard = WHOLE,
    ) -> None:
        """Hand over the target's weights to whoever borrows them; ``last_layer`` is vLLM's, its
        cache follows later."""
        self.last_layer, self.kind, self.shard = last_layer, kind, shard
        requests, model = len(self.slots), self.runner.vllm_config.model_config
        self.hidden = torch.zeros(requests, model.get_hidden_size(), dtype=model.dtype)
        self.hidden = self.hidden.to(self.runner.device)
        if self.proposer.borrows:
            self.proposer.bind(target(), requests + 1)
        kept, shapes = self.proposer.held(), self.topology.held() + self.hidden.nbytes
        logger.info(
            "longspec: room for %d requests: %.1f MiB of what drafting keeps, %.1f MiB of trees",
            *(requests, kept / 2**20, shapes / 2**20),
        )

    def init_cudagraph_manager(self, cudagraph_mode: Any) -> None:
        """Note for which batches drafting is captured; graphs of an earlier cache are dropped."""
        captured = cudagraph_mode and not self.proposer.host
        self.sizes = draft_sizes(len(self.slots)) if captured else []
        for graphs in (self.graphs, self.chain_graphs):
            graphs.capture(())

    def capture(self) -> None:
        """Capture drafting, after the target's own graphs."""
        self.clear(0)
        for graphs in (self.graphs, self.chain_graphs):
            graphs.capture(self.sizes)

    def admit(self, slot: int, way: Way, scope: int) -> None:
        """A request takes a slot."""
        if way.refused:
            self.undrafted.note(way.refused)
        self.draftable[slot], self.scopes[slot] = way.drafted, scope
        self.chained[slot] = self.in_chains[slot] = way.timed or (way.chained and not self.grammars)
        self.missed[slot] = False

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
        num_speculative_tokens: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Draft tokens ``[B, nodes]`` int64 of every request; what is no node is token 0.

        ``num_speculative_tokens``: the most nodes that the scheduler takes of each in the next
        step; with none nothing is drafted.
        """
        count = input_batch.num_reqs
        if dummy_run:
            return self.drafts[:count].zero_()
        if num_speculative_tokens == 0:
            return self.pause(input_batch)
        with self.timing.section("draft"):
            self.stage(input_batch, last_hidden_states, num_sampled, num_speculative_tokens)
            if fresh := self.out_of_date(input_batch):
                self.proposer.start(self.context(count).part(fresh))
            chains = self.in_chains[input_batch.idx_mapping_np].any()
            (self.chain_graphs if chains else self.graphs).run(count)
        return self.drafts[:count]

    def pause(self, input_batch: Any) -> Tensor:
        """Draft nothing in this step."""
        self.last_logit_rows = None
        self.missed[input_batch.idx_mapping_np] = True
        self.topology.sizes[input_batch.idx_mapping] = 0
        return self.drafts[: input_batch.num_reqs].zero_()

    def out_of_date(self, input_batch: Any) -> list[int]:
        """Requests of the batch whose prefill ends with this step, or that were not drafted for
        since; known to the host."""
        done = input_batch.num_computed_prefill_tokens_np + input_batch.num_scheduled_tokens
        ended = input_batch.is_prefilling_np & (done >= input_batch.prefill_len_np)
        slots = input_batch.idx_mapping_np
        rows: list[int] = (ended | self.missed[slots]).nonzero()[0].tolist()
        self.missed[slots] = False
        return rows

    def stage(
        self, input_batch: Any, hidden_states: Tensor, num_sampled: Tensor, most: int | None = None
    ) -> None:
        """Fill the buffers for this step. Requests that sampled nothing get no tree.

        Args:
            most: the most nodes of a tree, if fewer than the proposer's.
        """
        count, slots = input_batch.num_reqs, input_batch.idx_mapping
        rows = self.last_logit_rows
        if rows is None:
            rows = input_batch.cu_num_logits[1 : count + 1].long() - 1
        self.last_logit_rows = None
        known = self.runner.req_states.total_len.gpu[slots].long()
        drafted = (num_sampled > 0) & self.draftable[slots]
        nodes = self.topology.nodes if most is None else min(most, self.topology.nodes)
        room = (self.runner.max_model_len - 1 - known).clamp(0, nodes)
        self.slots[:count] = slots
        self.rows[:count] = slots
        self.lengths[:count] = torch.where(drafted, known, 1)
        self.prefix[:count] = self.lengths[:count] - 1
        self.num_new[:count] = num_sampled
        self.budgets[:count] = torch.where(drafted, room, 0)
        self.hidden[:count] = hidden_states[input_batch.logits_indices[rows].long()]
        self.clear(count)

    def clear(self, count: int) -> None:
        """Requests behind the first ``count`` are padding: one token, no tree, the spare slot."""
        self.slots[count:] = self.spare
        self.lengths[count:] = 1
        for part in (self.rows, self.prefix, self.num_new, self.budgets):
            part[count:] = 0

    def context(self, count: int) -> DraftContext:
        """The buffers of ``count`` requests, as a proposer is given them."""
        table = self.runner.block_tables.input_block_tables[0][:count]
        return DraftContext(
            slots=self.slots[:count],
            token_ids=self.runner.req_states.all_token_ids.gpu,
            rows=self.rows[:count],
            lengths=self.lengths[:count],
            num_new=self.num_new[:count],
            most_new=1 + self.topology.levels,
            hidden_states=self.hidden[:count],
            target_kv=self.kind.target_kv(self.last_layer, self.prefix[:count], table),
            budgets=self.budgets[:count],
            static=not self.proposer.host,
            limited=self.limited,
            scopes=self.scopes[self.slots[:count]],
        )

    def draft_first(self, count: int) -> None:
        """Draft for the first ``count`` requests of the buffers."""
        self.draft(self.context(count))

    def draft_chains(self, count: int) -> None:
        """The same where some requests' drafts are chains."""
        self.draft(self.context(count), chains=True)

    def draft(self, context: DraftContext, chains: bool = False) -> None:
        """From the buffers to ``drafts`` and the topology; reads nothing back."""
        trees = self.proposer.propose(context)
        if self.proposer.host:
            trees = self.shard.agreed(trees, self.topology.nodes)
        trees = trees.truncated(context.budgets)
        if chains:
            trees = in_chains(trees, self.chained[context.slots], trees.max_nodes)
        self.topology.write(context.slots, trees)
        self.keep(trees)

    def keep(self, trees: DraftTrees) -> None:
        """Write the tokens where vLLM takes them from."""
        batch, width = trees.tokens.shape
        self.drafts[:batch].zero_()  # vLLM writes -1 into it, which is no token
        self.drafts[:batch, :width] = trees.tokens.masked_fill(~trees.valid(), 0)
