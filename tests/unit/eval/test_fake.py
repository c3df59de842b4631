"""The scripted server sends what vLLM sends, and a thousand streams at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from eval.servers.readers.vllm import VllmReader
from recipes.eval.fake.chunks import token_id

from .fake import Answer, Script, serving

ROOT = Path(__file__).parents[3]
Chunk = dict[str, Any]


def body(prompt: str = "Hi there", **more: Any) -> dict[str, Any]:
    told = {"model": "fake", "messages": [{"role": "user", "content": prompt}], "stream": True}
    return {**told, "stream_options": {"include_usage": True}, **more}


def ask(url: str, prompt: str = "Hi there", **more: Any) -> list[Chunk]:
    """The chunks of an answer; they end with ``[DONE]``."""
    sent = body(prompt, **more)
    answer = httpx.post(f"{url}/v1/chat/completions", json=sent, timeout=5, trust_env=False)
    *events, done, rest = answer.raise_for_status().text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def text(chunks: list[Chunk]) -> str:
    return "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"])


def get(url: str, path: str) -> httpx.Response:
    return httpx.get(url + path, timeout=5, trust_env=False)


def count(url: str, **body: Any) -> int:
    answer = httpx.post(f"{url}/tokenize", json={"model": "fake", **body}, trust_env=False)
    return int(answer.json()["count"])


def test_an_answer() -> None:
    with serving(Script(words_per_chunk=2)) as url:
        chunks = ask(url)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["delta"]["content"] for c in chunks[1:-2]] == [
        "one two",
        " three four",
        " five",
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    usage = {"prompt_tokens": 6, "completion_tokens": 5, "total_tokens": 11}
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], usage)
    assert {c["id"] for c in chunks} == {"chat-1"}


def test_speculation_is_told_step_by_step() -> None:
    with serving(Script(steps=[2, 0, 1], depth=4)) as url:
        told = ask(url)[-1]["metrics"]["speculative_decoding"]
        counters = VllmReader().counters(get(url, "/metrics").text)
    assert told["per_step_accepted"] == [2, 0, 1]
    assert told["per_step_drafted"] == [3, 3, 3]
    assert told["acceptance_histogram"] == [1, 1, 1, 0, 0]
    assert (told["num_spec_tokens"], told["mean_acceptance_length"]) == (4, 2.0)
    assert counters
    assert (counters.steps, counters.drafted, counters.accepted) == (3, 9, 3)
    assert (counters.per_position, counters.completion_tokens) == ([2, 1], 5)


def test_answers_by_prompt() -> None:
    known = {"Sum?": Answer(["four"], steps=[1, 1], finish_reason="length")}
    with serving(Script(answers=known)) as url, serving(Script(answers=known.get)) as other:
        for place in (url, other):
            chunks = ask(place, "Sum?")
            assert text(chunks) == "four"
            assert chunks[-2]["choices"][0]["finish_reason"] == "length"
            steps = chunks[-1]["metrics"]["speculative_decoding"]["per_step_accepted"]
            assert steps == [1, 1]
            assert text(ask(place)) == "one two three four five"


def test_token_ids_and_logprobs_only_if_asked_for() -> None:
    with serving(Script(margins={1: 0.25})) as url:
        plain = ask(url)
        told = ask(url, return_token_ids=True, logprobs=True, top_logprobs=2)
    assert plain[1]["choices"][0]["token_ids"] is plain[1]["choices"][0]["logprobs"] is None
    assert len(told[0]["prompt_token_ids"]) == 6
    assert told[2]["choices"][0]["token_ids"] == [token_id(" two")]
    first, second = (told[i]["choices"][0]["logprobs"]["content"][0] for i in (1, 2))
    assert (second["token"], bytes(second["bytes"])) == (" two", b" two")
    for entry, margin in ((first, 2.0), (second, 0.25)):
        best, other = entry["top_logprobs"]
        assert best["token"] == entry["token"]
        assert best["logprob"] - other["logprob"] == pytest.approx(margin)


def test_an_answer_without_a_stream() -> None:
    with serving(Script()) as url:
        sent = body(stream=False, logprobs=True, top_logprobs=1, return_token_ids=True)
        answer = httpx.post(f"{url}/v1/chat/completions", json=sent, trust_env=False).json()
    (choice,) = answer["choices"]
    text = "one two three four five"
    assert choice["message"] == {"role": "assistant", "content": text}
    assert (choice["finish_reason"], answer["usage"]["completion_tokens"]) == ("stop", 5)
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == text
    assert (len(choice["token_ids"]), len(answer["prompt_token_ids"])) == (5, 6)
    assert answer["metrics"]["speculative_decoding"]["per_step_accepted"] == [2]


def test_no_usage_and_no_metrics_unless_asked_for() -> None:
    with serving(Script()) as url:
        assert all("usage" not in chunk for chunk in ask(url, stream_options=None))


def test_the_other_addresses() -> None:
    with serving(Script(max_model_len=99)) as url:
        assert get(url, "/health").status_code == 200
        assert get(url, "/v1/models").json()["data"][0] == {"id": "fake", "max_model_len": 99}
        assert count(url, prompt="a plain prompt") == 3
        assert count(url, messages=body("a plain prompt")["messages"]) == 7


async def _streams(url: str, number: int) -> list[bytes]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(i: int) -> bytes:
            async with session.post(f"{url}/v1/chat/completions", json=body(str(i))) as answer:
                return await answer.read()

        return await asyncio.gather(*map(one, range(number)))


def test_a_thousand_streams_in_flight() -> None:
    script = Script(gate=1000)
    with serving(script) as url:
        answers = asyncio.run(asyncio.wait_for(_streams(url, 1000), 60))
    assert all(answer.endswith(b"data: [DONE]\n\n") for answer in answers)
    assert (script.most_in_flight, len(script.seen), script.in_flight) == (1000, 1000, 0)
    assert script.totals["vllm:generation_tokens_total"] == 5000


def test_a_process_of_its_own() -> None:
    line = [sys.executable, "-m", "recipes.eval.fake", "--script", '{"swaps": {"0": "uno"}}']
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert text(ask(process.stdout.readline().strip())) == "uno two three four five"
        process.terminate()
        assert process.wait(10) == 0


def test_a_port_that_is_taken() -> None:
    with (
        serving(Script()) as url,
        pytest.raises(OSError, match="in use"),
        serving(Script(), int(url.rpartition(":")[2])),
    ):
        pass
