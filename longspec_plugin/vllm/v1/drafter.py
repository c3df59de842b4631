"""From vLLM's batch to a proposer's context, and back to scheduled draft tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from proposers.base import DraftContext, TargetKV
from proposers.memory import NOBODY
from proposers.tree import DraftTrees, in_chains, prune

from ...errors import LongSpecError
from ...options import LongSpecOptions
from ...undrafted import Undrafted
from ..salts import scope_of
from ..target import shard, target_model
from ..ways import Way
from .load import TreeSizes
from .slots import Slots


class TreeDrafter:
    """The object that vLLM builds for ``method=custom_class``; holds our proposer."""

    def __init__(self, vllm_config: Any) -> None:
        self.config = vllm_config
        options = LongSpecOptions.from_json(vllm_config.additional_config["longspec"])
        self.proposer = options.build()
        self.max_tokens = vllm_config.scheduler_config.max_num_batched_tokens
        self.sizes = TreeSizes(options, self.proposer)
        self.slots = Slots()
        self._ways: dict[str, Way] = {}
        self._scopes: dict[str, int] = {}
        self.undrafted = Undrafted("vllm.longspec")

    def load_model(self, model: Any) -> None:
        """Hand the target's weights to the proposer."""
        self.shard = shard()
        if self.proposer.borrows:
            requests = self.config.scheduler_config.max_num_seqs
            self.proposer.bind(target_model(model, self.config), requests)

    def propose(self, *args: Any, **kwargs: Any) -> list[list[int]]:
        """Never called: the runner overrides the step that would call it."""
        raise LongSpecError("method 'longspec' needs its own worker; do not set --worker-cls")

    def drafted_rows(self, runner: Any, sampled: Sequence[Sequence[int]]) -> list[int]:
        """Batch rows that get a tree: they sampled a token, their sampling allows one, and their
        drafts have not kept failing; none where no tree pays at this load."""
        requests = runner.input_batch.req_ids
        rows = [
            row
            for row, request in enumerate(requests)
            if sampled[row] and self.way(request, runner).drafted and self._room(row, runner) > 0
            if self.sizes.wants(request)
        ]
        share = max(self.max_tokens // max(len(requests), 1) - 1, 1)
        return rows if self.sizes.choose(len(requests), len(rows), share) else []

    def draft(
        self,
        runner: Any,
        rows: Sequence[int],
        hidden_states: Tensor,
        target_kv: Callable[[Tensor, Tensor], TargetKV],
    ) -> DraftTrees:
        """One tree for each batch row in ``rows``.

        Args:
            hidden_states: ``[len(rows), H]`` at the token before each root.
            target_kv: from batch rows and prefix lengths to the last layer's KV.
        """
        batch = runner.input_batch
        lengths = [int(batch.num_tokens_no_spec[row]) for row in rows]
        names = [batch.req_ids[row] for row in rows]
        budgets = [min(self.sizes.nodes, self._room(row, runner)) for row in rows]
        taken = [self.slots.take(name, length) for name, length in zip(names, lengths, strict=True)]
        slots, new = zip(*taken, strict=True)
        index, known = torch.tensor(rows), torch.tensor(lengths)
        context = DraftContext(
            slots=torch.tensor(slots),
            token_ids=batch.token_ids_cpu_tensor,
            rows=index,
            lengths=known,
            num_new=torch.tensor(new),
            most_new=max(new) or 1,
            hidden_states=hidden_states,
            target_kv=target_kv(index, known - 1),
            budgets=torch.tensor(budgets),
            least=self.sizes.least,
            cheap=self.sizes.cheap,
            scopes=self._scopes_of(names),
        )
        usual = min(new) > 0 and max(new) <= 1 + self.proposer.max_depth
        with self.sizes.drafting(names, usual) as nodes:
            if 0 in new:
                self.proposer.start(context.part([i for i, count in enumerate(new) if not count]))
            trees = self._cut(self.proposer.propose(context), context)
            nodes += trees.sizes.tolist()
            chained = [self.way(name, runner).chained for name in names]
            return in_chains(trees, torch.tensor(chained)) if any(chained) else trees

    def _cut(self, trees: DraftTrees, context: DraftContext) -> DraftTrees:
        """To what was asked for, whoever proposed them."""
        if self.proposer.host:
            trees = self.shard.agreed(trees, self.proposer.max_nodes)
        trees = trees.truncated(context.budgets)
        if context.least == -math.inf:
            return trees
        unlikely = (trees.log_probs < context.least) & trees.valid()
        return prune(trees, context.budgets, context.least) if bool(unlikely.any()) else trees

    def _scopes_of(self, requests: Sequence[str]) -> Tensor | None:
        """None where nobody shares answers, which spares all the work on them."""
        scopes = [self._scopes.get(request, NOBODY) for request in requests]
        return torch.tensor(scopes) if any(scopes) else None

    def admit(self, new_requests: Sequence[Any]) -> None:
        """Note what the scheduler tells of requests that are new."""
        self._scopes.update((new.req_id, scope_of(new)) for new in new_requests)

    def forget(self, request_ids: set[str]) -> None:
        """Drop what is kept for requests that ended."""
        self.slots.give_back(request_ids)
        self.sizes.forget(request_ids)
        for request in request_ids:
            self._ways.pop(request, None)
            self._scopes.pop(request, None)

    def way(self, request: str, runner: Any) -> Way:
        """How this request may be drafted."""
        if request not in self._ways:
            way = self._ways[request] = Way.of(runner.requests[request].sampling_params)
            if way.refused:
                self.undrafted.note(way.refused)
        return self._ways[request]

    def _room(self, row: int, runner: Any) -> int:
        """Nodes that fit between the root and the model's length limit (a bonus token follows)."""
        return int(runner.max_model_len - 1 - runner.input_batch.num_tokens_no_spec[row])
