"""Messages of a step: which are sent before which are answered, and what comes of errors."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs the engine: make setup")

from vllm.v1.executor.multiproc_executor import FutureWrapper, MultiprocExecutor

from longspec_plugin.vllm.v1.executor import AheadExecutor


class Recorded(AheadExecutor):
    """An executor whose worker is a script: ``answers`` by message, an exception to be raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.events = answers, list[str]()
        self.futures_queue: deque[FutureWrapper] = deque()
        self.output_rank, self.kv_output_aggregator, self.ec_output_aggregator = 0, None, None

    def collective_rpc(self, method: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self.events.append(f"send {method}")

        def answer() -> Any:
            self.events.append(f"read {method}")
            if isinstance(found := self.answers[method], Exception):
                raise found
            return found

        future = FutureWrapper(self.futures_queue, answer)
        return future if kwargs.get("non_block") else future.result()


def scheduled(tokens: int = 5, grammars: bool = False) -> Any:
    return SimpleNamespace(
        total_num_scheduled_tokens=tokens, has_structured_output_requests=grammars
    )


def stepped(executor: AheadExecutor, step: Any) -> tuple[Any, Any]:
    """What ``EngineCore.step`` asks, in its order."""
    future = executor.execute_model(step, non_block=True)
    output = future.result()
    if output is None:
        output = executor.sample_tokens("bitmask")
    return output, executor.take_draft_token_ids() if step.total_num_scheduled_tokens else None


STEP = {"execute_model": None, "sample_tokens": "tokens", "take_draft_token_ids": "drafts"}
SENT = ["send execute_model", "send sample_tokens", "send take_draft_token_ids"]
READ = ["read execute_model", "read sample_tokens", "read take_draft_token_ids"]


def test_all_is_sent_before_anything_is_read() -> None:
    executor = Recorded(**STEP)
    assert [stepped(executor, scheduled()) for _ in range(2)] == [("tokens", "drafts")] * 2
    assert executor.events == [*SENT, *READ] * 2


def test_sampling_waits_for_a_bitmask() -> None:
    executor = Recorded(**STEP)
    assert stepped(executor, scheduled(grammars=True)) == ("tokens", "drafts")
    assert executor.events == [SENT[0], READ[0], *SENT[1:], *READ[1:]]


def test_a_step_without_tokens_is_vllms_own() -> None:
    executor = Recorded(execute_model="nothing")
    assert stepped(executor, scheduled(0)) == ("nothing", None)
    assert executor.events == [SENT[0], READ[0]]


@pytest.mark.parametrize("message", ["execute_model", "sample_tokens", "take_draft_token_ids"])
def test_errors_are_told_where_they_are(message: str) -> None:
    executor = Recorded(**{**STEP, message: RuntimeError(f"{message} failed")})
    with pytest.raises(RuntimeError, match=f"{message} failed"):
        stepped(executor, scheduled())


def test_it_is_one_of_vllms() -> None:
    assert issubclass(AheadExecutor, MultiprocExecutor)
    assert AheadExecutor.supports_async_scheduling()
