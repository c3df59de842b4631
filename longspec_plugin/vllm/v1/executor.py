"""vLLM's executor, which asks for a step's parts before it is told of the parts before.

Stock vLLM without asynchronous scheduling sends its worker the forward, waits, sends the sampling,
waits, puts out the tokens, and sends for drafts: the worker stands still while the engine and its
messages take their time. Here all three are sent at once, and the engine puts tokens out while the
worker drafts. Named by ``distributed_executor_backend``, vLLM's own option, unless the user chose
another than ``mp``.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from vllm import envs
from vllm.v1.executor.multiproc_executor import MultiprocExecutor


class AheadExecutor(MultiprocExecutor):
    """A step whose grammars wait for no bitmask is one message forth, and one back."""

    _drafts: Future[Any] | None = None

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        forward = super().execute_model(scheduler_output, non_block=True)
        step: Any = forward
        if scheduler_output.total_num_scheduled_tokens and not _waits(scheduler_output):
            step = _Step(forward, self.sample_tokens(None, non_block=True))
        return step if non_block else step.result()

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        sampled = super().sample_tokens(grammar_output, non_block=True)
        self._drafts = self._ask_for_drafts()
        return sampled if non_block else sampled.result()

    def take_draft_token_ids(self) -> Any:
        drafts, self._drafts = self._drafts or self._ask_for_drafts(), None
        return drafts.result()

    def _ask_for_drafts(self) -> Any:
        return self.collective_rpc(
            "take_draft_token_ids",
            unique_reply_rank=self.output_rank,
            non_block=True,
            timeout=envs.VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS,
        )


class _Step(Future[Any]):
    """A forward and its sampling; what the first says of errors, and the second of tokens."""

    def __init__(self, forward: Any, sampled: Any) -> None:
        super().__init__()
        self._forward, self._sampled = forward, sampled

    def result(self, timeout: float | None = None) -> Any:
        self._forward.result()
        return self._sampled.result()


def _waits(scheduler_output: Any) -> bool:
    """A bitmask is made while the forward runs, and sampling must have it."""
    return bool(scheduler_output.has_structured_output_requests)
