"""vLLM's model runner with trees: draft, lay out, verify, accept, move KV.

Overrides of Model Runner V1 (``vllm/v1/worker/gpu_model_runner.py``), each the smallest that does
its part. A tree is a list of draft tokens in breadth-first order; its slots stay linear, one a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from vllm import envs
from vllm.distributed import get_tp_group

from proposers.tree import DraftTrees, row_positions
from proposers.visits import pays

from ...trace import Trace
from .head import TreeHead
from .sampling import one_row_each, verify
from .trees import TreeBook

if TYPE_CHECKING:
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner as _Runner
else:
    _Runner = object


class TreeRunner(_Runner):
    """Mixed in before vLLM's own runner class for CPUs.

    The device-specific part is ``self.longspec_device``, which lays out attention, reads the last
    layer's KV and moves accepted KV (:mod:`.device`).
    """

    def setup_longspec(self, device: Any) -> None:
        """Called by our worker once the runner exists."""
        self.longspec_device = device
        self.book = TreeBook()
        self.trace = Trace.from_environment() if get_tp_group().is_first_rank else Trace(None)
        self.step_trees: DraftTrees | None = None
        self.in_step = False
        self.last_logit_rows: Tensor | None = None
        self.to_draft: tuple[list[list[int]], Tensor] | None = None

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)
        self.head = TreeHead(self.model, self.trace)

    def execute_model(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        self.drafter.forget(scheduler_output.finished_req_ids)
        self.drafter.admit(scheduler_output.scheduled_new_reqs)
        sizes = self.drafter.sizes
        sizes.begin(scheduler_output)
        self.trace.note_step(sizes.facts())
        with self.trace.section("verify"):
            try:
                return super().execute_model(scheduler_output, *args, **kwargs)
            finally:
                self.in_step = False

    def _model_forward(self, *args: Any, **kwargs: Any) -> Any:
        with self.trace.section("forward"):
            return super()._model_forward(*args, **kwargs)

    def _prepare_inputs(self, scheduler_output: Any, num_scheduled_tokens: Any) -> Any:
        """Rotary positions of tree rows: root + depth (slots are set by then, and stay linear)."""
        result = super()._prepare_inputs(scheduler_output, num_scheduled_tokens)
        drafts = scheduler_output.scheduled_spec_decode_tokens
        requests = self.input_batch.req_ids
        self.step_trees, self.in_step = None, True
        if drafts:
            trees = self.book.recall([(r, drafts.get(r, ())) for r in requests])
            self.step_trees = trees
            self.head.wanted = pays(trees) and self._rows_stand_alone()
            self._place_tree_positions(trees)
        return result

    def _rows_stand_alone(self) -> bool:
        """Whether none but the walk looks at the logits of this step, and rows need not be beside
        each other."""
        return not (
            self.lora_config
            or get_tp_group().world_size > 1
            or envs.VLLM_COMPUTE_NANS_IN_LOGITS
            or any(self.drafter.way(name, self).chained for name in self.input_batch.req_ids)
        )

    def _place_tree_positions(self, trees: DraftTrees) -> None:
        first = self.query_start_loc.cpu[: trees.batch_size].long()
        roots = self.input_batch.num_computed_tokens_cpu_tensor[: trees.batch_size].long()
        real = trees.valid().cpu()
        real_rows = torch.cat([(trees.sizes > 0)[:, None].cpu(), real], dim=1)
        columns = torch.arange(trees.max_nodes + 1)
        flat = (first[:, None] + columns)[real_rows]
        positions = row_positions(trees, roots.to(trees.depths.device)).cpu()[real_rows]
        self.positions[flat.to(self.device)] = positions.to(self.positions)

    def _build_attention_metadata(self, *args: Any, **kwargs: Any) -> Any:
        """Attach the rows that are ours to the metadata that our attention backend reads."""
        metadata, common = super()._build_attention_metadata(*args, **kwargs)
        if not kwargs.get("for_cudagraph_capture") and self.in_step:
            step = self.longspec_device.tree_step(self, self.step_trees)
            for layer in {id(m): m for m in metadata.values()}.values():
                layer.longspec = step
        return metadata, common

    def _sample(self, logits: Tensor | None, spec_decode_metadata: Any) -> Any:
        """Walk the trees with the target's own draws, then move the accepted path's KV."""
        trees = self.step_trees
        batch = self.input_batch
        one_row_each(batch.sampling_metadata)
        if trees is None or logits is None or spec_decode_metadata is None:
            self.last_logit_rows = torch.arange(batch.num_reqs, device=self.device)
            with self._discarded_rows_keep_their_seed():
                return self.sampler(logits=logits, sampling_metadata=batch.sampling_metadata)
        with self.trace.section("accept"), self._discarded_rows_keep_their_seed():
            counts = spec_decode_metadata.cu_num_sampled_tokens
            first_rows = torch.cat([counts.new_zeros(1), counts[:-1]]).long()
            walk, output = verify(
                trees,
                logits,
                self.head.later(),
                first_rows,
                self.sampler,
                batch.sampling_metadata,
                batch.req_output_token_ids[: batch.num_reqs],
                self._plain(),
            )
            self.last_logit_rows = first_rows + walk.last_rows()
            flat_rows = spec_decode_metadata.logits_indices.long()
            self._move_accepted(walk.rows, first_rows, flat_rows)
            self.drafter.sizes.verified(batch.req_ids, trees, walk.rows)
            self.trace.note_trees(trees, walk.accepted, logits.shape[0])
        return output

    def _bookkeeping_sync(self, *args: Any, **kwargs: Any) -> Any:
        with self._discarded_rows_keep_their_seed():
            return super()._bookkeeping_sync(*args, **kwargs)

    @contextmanager
    def _discarded_rows_keep_their_seed(self) -> Iterator[None]:
        """Hide the generators of unfinished prefills, whose draws are thrown away.

        Stock vLLM draws and then winds the generator back, which CPU generators cannot do: a seeded
        request with a chunked prefill ends the stock CPU engine.
        """
        generators = self.input_batch.generators
        discarded = self.discard_request_mask.np[: self.input_batch.num_reqs].nonzero()[0]
        hidden = {int(i): generators.pop(int(i)) for i in discarded if int(i) in generators}
        try:
            yield
        finally:
            generators.update(hidden)

    def _plain(self) -> bool:
        metadata = self.input_batch.sampling_metadata
        return bool(
            metadata.all_greedy
            and metadata.max_num_logprobs is None
            and all(self.drafter.way(request, self).bare for request in self.input_batch.req_ids)
        )

    def _move_accepted(self, rows: Tensor, first_rows: Tensor, flat_rows: Tensor) -> None:
        """Bring the KV of accepted nodes to the slots right behind the root."""
        depth = torch.arange(rows.shape[1], device=rows.device)
        moved = (rows > 0) & (rows != depth)
        if not bool(moved.any()):
            return
        slots = self.input_batch.block_table[0].slot_mapping.gpu
        first = first_rows[:, None]
        source = slots[flat_rows[(first + rows)[moved]]]
        target = slots[flat_rows[(first + depth)[moved]]]
        self.longspec_device.move(self, source, target)

    def _input_fits_in_drafter(self, common_attn_metadata: Any) -> bool:
        """Near the length limit trees shrink; drafting is never replaced by zeros."""
        return common_attn_metadata is not None

    def propose_draft_token_ids(
        self,
        scheduler_output: Any,
        sampled_token_ids: Any,
        sampling_metadata: Any,
        hidden_states: Tensor,
        sample_hidden_states: Tensor,
        aux_hidden_states: Any,
        spec_decode_metadata: Any,
        common_attn_metadata: Any,
        slot_mappings: Any,
    ) -> list[list[int]]:
        """Nothing yet: tokens go out before drafting begins (:mod:`.executor`)."""
        self.to_draft = (sampled_token_ids, sample_hidden_states)
        return [[] for _ in sampled_token_ids]

    def take_draft_token_ids(self) -> Any:
        """A tree for every request that may have one, as lists for the scheduler."""
        if self.to_draft is not None:
            with self.trace.section("draft"):
                self._draft_token_ids = self._draft(*self.to_draft)
            self.to_draft = None
            self.drafter.sizes.end()
            self.trace.end_cycle()
        return super().take_draft_token_ids()

    def _draft(self, sampled: Sequence[Sequence[int]], hidden_states: Tensor) -> list[list[int]]:
        tokens: list[list[int]] = [[] for _ in sampled]
        rows = self.drafter.drafted_rows(self, sampled)
        if not rows or self.last_logit_rows is None:
            return tokens
        last = hidden_states[self.last_logit_rows[rows]]
        trees = self.drafter.draft(self, rows, last, self._target_kv)
        names = [self.input_batch.req_ids[row] for row in rows]
        for row, drafted in zip(rows, self.book.remember(names, trees), strict=True):
            tokens[row] = drafted
        return tokens

    def _target_kv(self, rows: Tensor, prefix: Tensor) -> Any:
        return self.longspec_device.target_kv(self, rows, prefix)
