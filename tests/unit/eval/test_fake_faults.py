"""Each fault of the scripted server, alone and where it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from eval.numbers.guards import loops
from eval.records.counters import Counters
from eval.servers.readers.vllm import VllmReader

from .fake import Script, serving
from .fake_sglang import SglangScript
from .test_fake import Chunk, ask, count, get, text


def counters(url: str) -> Counters:
    found = VllmReader().counters(get(url, "/metrics").text)
    assert found
    return found


def told(chunks: list[Chunk]) -> dict[str, Any]:
    found: dict[str, Any] = chunks[-1]["metrics"]["speculative_decoding"]
    return found


def test_positions_that_do_not_add_up() -> None:
    with serving(Script(unpositioned=2)) as url:
        spec = told(ask(url))
        sums = counters(url)
    assert spec["num_accepted_draft_tokens"] == sums.accepted == 4
    assert sum(j * n for j, n in enumerate(spec["acceptance_histogram"])) == 2
    assert sum(sums.per_position) == 2


def test_another_client() -> None:
    with serving(Script(strangers=3, stranger_steps=2)) as url:
        spec = told(ask(url))
        sums = counters(url)
    assert (spec["num_spec_steps"], sums.steps) == (1, 3)
    assert sums.completion_tokens == 8


def test_counters_that_go_back() -> None:
    with serving(Script(restart_after=2)) as url:
        ask(url), ask(url)
        before = counters(url)
        ask(url)
        assert (counters(url) - before).went_back


def test_no_counters() -> None:
    with serving(Script(no_metrics=True)) as url:
        assert get(url, "/metrics").status_code == 404


def test_a_loop() -> None:
    with serving(Script(words=[" on", " and"], repeat=40)) as url:
        assert loops(text(ask(url)))


def test_no_chat_template() -> None:
    with serving(Script(template=0)) as url:
        assert ask(url, "one two")[-1]["usage"]["prompt_tokens"] == count(url, prompt="one two")


def test_a_wrong_usage_and_none() -> None:
    with serving(Script(usage_excess=2)) as url, serving(Script(no_usage=True)) as other:
        assert ask(url)[-1]["usage"]["completion_tokens"] == 7
        assert all("usage" not in chunk for chunk in ask(other))


def test_more_accepted_than_drafted_and_than_the_depth() -> None:
    with serving(Script(steps=[3, 3], nodes_per_step=2, depth=2)) as url:
        spec = told(ask(url))
    assert spec["draft_acceptance_rate"] == 1.5
    assert (spec["num_spec_tokens"], len(spec["acceptance_histogram"])) == (2, 4)


def test_prompts_that_are_too_long() -> None:
    with serving(Script(max_model_len=10)) as url:
        ask(url, "one two", max_tokens=4)
        with pytest.raises(httpx.HTTPStatusError, match="400") as raised:
            ask(url, "one two", max_tokens=5)
    assert "maximum context length is 10 tokens" in raised.value.response.text


def test_http_500_for_some_prompts() -> None:
    with serving(Script(fail={"bad"})) as url:
        assert text(ask(url, "good"))
        with pytest.raises(httpx.HTTPStatusError, match="500"):
            ask(url, "bad")


def test_a_stream_that_breaks_off() -> None:
    with serving(Script(break_off={"bad"})) as url:
        assert text(ask(url, "good"))
        with pytest.raises(httpx.TransportError):
            ask(url, "bad")


def test_a_request_that_hangs_and_a_server_that_does() -> None:
    with serving(Script(hang={"bad"})) as url:
        refuses(lambda: httpx.post(f"{url}/v1/chat/completions", json=sent("bad"), timeout=0.2))
        assert text(ask(url, "good"))
    with serving(Script(hang_after=1)) as url:
        ask(url)
        refuses(lambda: httpx.post(f"{url}/v1/chat/completions", json=sent("x"), timeout=0.2))
        refuses(lambda: httpx.get(f"{url}/health", timeout=0.2))


def sent(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def refuses(call: Callable[[], object]) -> None:
    started = time.monotonic()
    with pytest.raises(httpx.TimeoutException):
        call()
    assert time.monotonic() - started < 5


def test_a_server_that_dies() -> None:
    with serving(Script(die_after=1)) as url:
        ask(url)
        with pytest.raises(httpx.TransportError):
            ask(url)
        for path in ("/health", "/metrics"):
            with pytest.raises(httpx.ConnectError):
                get(url, path)


def test_an_engine_that_dies_under_a_server_that_stays() -> None:
    with serving(Script(core_dies_after=1)) as url:
        ask(url)
        assert get(url, "/health").status_code == 200
        for _ in range(2):
            with pytest.raises(httpx.HTTPStatusError) as raised:
                ask(url)
            assert raised.value.response.json()["error"]["type"] == "EngineDeadError"
        assert get(url, "/health").status_code == 503


def test_words_that_differ_from_vanillas() -> None:
    with serving(Script(margins={2: 0.01})) as url, serving(Script(swaps={2: " six"})) as other:
        vanilla, arm = text(ask(url)), text(ask(other))
    place = next(i for i, (a, b) in enumerate(zip(vanilla, arm, strict=False)) if a != b)
    assert (place, arm) == (len("one two "), "one two six four five")


def test_answers_that_differ_at_every_second_time() -> None:
    with serving(Script(unsteady=1)) as url:
        assert [text(ask(url, "a")) for _ in range(3)] == [
            "one two three four five",
            "one two? three four five",
            "one two three four five",
        ]
        assert text(ask(url, "b")) == "one two three four five"


def test_several_engines_share_the_sums() -> None:
    with serving(Script(engines=3)) as url:
        ask(url)
        exposition = get(url, "/metrics").text
        assert counters(url).completion_tokens == 5
    assert exposition.count('vllm:generation_tokens_total{engine="') == 3
    assert "_created{" in exposition


def test_faults_of_sglang() -> None:
    with serving(SglangScript(unpositioned=1, miscount=2)) as url:
        (details,) = (
            c["sglext"] for c in ask(url, return_spec_tokens_details=True) if "sglext" in c
        )
        spec = details["spec_tokens_details"]
        assert (spec["spec_num_correct_drafts"], spec["spec_verify_ct"]) == (3, 1)
        assert 'spec_verify_calls_total{engine_type="unified",is_streaming="true"' in (
            get(url, "/metrics").text
        )
