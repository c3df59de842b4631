"""Salts of requests on their way through vLLM, as numbers that proposers compare."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from longspec_plugin.scopes import scope
from proposers.memory import NOBODY

pytest.importorskip("vllm")


def told(salt: str | None) -> Any:
    """What vLLM's scheduler tells of a new request, sent to another process."""
    from vllm.v1.core.sched.output import NewRequestData

    names = ("mm_features", "sampling_params", "pooling_params", "lora_request", "prompt_embeds")
    rest = {**dict.fromkeys(names), "prompt_is_token_ids": None, "replay_start": 0}
    request = SimpleNamespace(
        **{**rest, "mm_features": []},
        request_id="0",
        prompt_token_ids=[1],
        num_computed_tokens=0,
        cache_salt=salt,
    )
    return pickle.loads(pickle.dumps(NewRequestData.from_request(request, ([],))))  # type: ignore[arg-type]


def test_a_salt_reaches_the_worker() -> None:
    from longspec_plugin.vllm import compat, salts

    for _ in range(2):  # once is enough, and twice no harm
        salts.install()
    assert [salts.scope_of(told(salt)) for salt in ("a", None, "")] == [scope("a"), NOBODY, NOBODY]
    compat.VLLM.check_hooks()  # what is wrapped still shows vLLM's own signature


def test_scopes_are_numbers_of_64_bits_and_nobodys_is_zero() -> None:
    salts = [f"user-{i}" for i in range(1000)] + ["", "\udc80", "ü" * 500]
    found = {scope(salt) for salt in salts}
    assert len(found) == len(salts)
    assert all(0 <= number < 2**63 for number in found)
    assert scope(None) == scope("") == NOBODY
