"""The speculative worker: drafts a tree per request, verifies all in one target forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sglang.srt.managers.utils import GenerationBatchResult
from sglang.srt.model_executor.forward_batch_info import CaptureHiddenMode, ForwardMode
from sglang.srt.runtime_context import get_schedule
from sglang.srt.speculative.base_spec_worker import BaseSpecWorker
from torch import Tensor

from proposers.acceptance import Walk
from proposers.tree import DraftTrees

from ..trace import Trace
from .config import MAX_RUNNING_REQUESTS, options_of
from .drafter import TreeDrafter
from .length_limit import widen_rows
from .sampling import verify
from .verify_input import TreeVerifyInput, next_input

Publish = Callable[[Tensor], None] | None


class LongSpecWorker(BaseSpecWorker):  # type: ignore[misc]
    """Built by SGLang's scheduler around the target's worker."""

    device_class: type[Any]

    def __init__(self, server_args: Any, gpu_id: int, nccl_port: int, target_worker: Any) -> None:
        super().__init__()
        self._target_worker = target_worker
        self.runner = target_worker.model_runner
        self.proposer = options_of(server_args.speculative_draft_model_path).build()
        self.width = 1 + self.proposer.max_nodes
        self.trace = Trace.from_environment()
        self.device = self.device_class(self.runner)
        requests = get_schedule().max_running_requests or MAX_RUNNING_REQUESTS
        static = self.device.fixed_width
        self.drafter = TreeDrafter(self.proposer, self.runner, requests, static)

    @property
    def draft_worker(self) -> None:
        """No second model runner: the draft is one layer beside the target."""
        return None

    def clear_cache_pool(self) -> None:
        """Nothing to clear: windows are recomputed from token ids."""

    def forward_batch_generation(
        self, batch: Any, on_publish: Publish = None, pp_proxy_tensors: Any = None
    ) -> GenerationBatchResult:
        """One step of SGLang's: a prefill, or a tree drafted, verified and accepted."""
        if batch.forward_mode.is_decode():
            return self._decode(batch, on_publish)
        return self._prefill(batch, on_publish)

    def _prefill(self, batch: Any, on_publish: Publish) -> GenerationBatchResult:
        result = self.target_worker.forward_batch_generation(
            batch, capture_hidden_mode=CaptureHiddenMode.LAST
        )
        lengths = batch.seq_lens.clone()
        if on_publish is not None:
            on_publish(lengths)
        output, tokens = result.logits_output, result.next_token_ids
        self.drafter.remember_hidden(batch.req_pool_indices, output.hidden_states)
        output.hidden_states = None
        self.drafter.history.begin(batch, tokens)
        self.trace.end_cycle()  # no cycle of ours: the next one begins here
        ones = torch.ones(len(batch.reqs), dtype=torch.int32, device=lengths.device)
        return self._result(result, tokens, tokens[:, None], ones, lengths)

    def _decode(self, batch: Any, on_publish: Publish) -> GenerationBatchResult:
        with self.trace.section("draft"):
            trees = self.drafter.draft(batch, self.device.target_kv)
        with self.trace.section("verify"):
            width = self._prepare(batch, trees)
            with self.trace.section("forward"):
                result = self.target_worker.forward_batch_generation(batch, is_verify=True)
        with self.trace.section("accept"):
            walk = self._accept(batch, trees, result.logits_output, width)
        counts = (walk.accepted + 1).to(torch.int32)
        lengths = batch.seq_lens + counts
        if on_publish is not None:
            on_publish(lengths)
        self.drafter.history.extend(batch, walk.tokens, counts)
        batch.forward_mode = ForwardMode.DECODE
        self.trace.note_trees(trees, walk.accepted, width * len(batch.reqs))
        self.trace.end_cycle()
        return self._result(
            result, walk.tokens.clamp(min=0).flatten(), walk.tokens, counts, lengths
        )

    def _prepare(self, batch: Any, trees: DraftTrees) -> int:
        """Turn the batch into a verification of its trees; return the rows of each request."""
        fixed = self.device.fixed_width
        width = self.width if fixed else 1 + max(trees.sizes.tolist(), default=0)
        lengths, roots = batch.seq_lens.long(), self.drafter.history.roots(batch)
        most = int(batch.seq_lens_cpu.sum()) if self.device.whole_mask else None
        step = TreeVerifyInput(trees, roots, lengths, width, most)
        columns = lengths[:, None] + torch.arange(width, device=lengths.device)
        table = batch.req_to_token_pool.req_to_token
        batch.forward_mode = ForwardMode.TARGET_VERIFY
        batch.input_ids = step.draft_token
        batch.out_cache_loc = table[batch.req_pool_indices[:, None], columns].flatten().long()
        batch.spec_info = step
        return width

    def _accept(self, batch: Any, trees: DraftTrees, output: Any, width: int) -> Walk:
        logits = output.next_token_logits.view(len(batch.reqs), width, -1)
        walk = verify(trees, logits, batch, self.runner, output, self.drafter)
        states = output.hidden_states.view(len(batch.reqs), width, -1)
        requests = torch.arange(len(states), device=states.device)
        self.drafter.remember_hidden(batch.req_pool_indices, states[requests, walk.last_rows()])
        output.hidden_states = None
        self.device.move(batch, walk.rows, width)
        return walk

    def _result(
        self, result: Any, flat: Tensor, tokens: Tensor, counts: Tensor, lengths: Tensor
    ) -> GenerationBatchResult:
        return GenerationBatchResult(
            logits_output=result.logits_output,
            next_token_ids=flat,
            can_run_cuda_graph=result.can_run_cuda_graph,
            accept_lens=counts,
            new_seq_lens=lengths,
            next_draft_input=next_input(self.width, tokens, counts, lengths),
            speculative_num_draft_tokens=self.width,
            speculative_output_stride=tokens.shape[1],
        )


def prepare(server_args: Any) -> type[LongSpecWorker]:
    """The worker's class for this process' device, with its hooks in place."""
    if server_args.device == "cpu":
        from .device_cpu import CPUDevice as Device
    else:
        from .device_gpu import GPUDevice as Device  # type: ignore[assignment]
    Device.prepare()
    widen_rows()
    return type("LongSpecWorker", (LongSpecWorker,), {"device_class": Device})
