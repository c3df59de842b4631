"""Answers as servers send them that are not the ones we start: what each is worth.

Every row is an answer; none may end the run, and each leaves a record that says what it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eval import speed_bench
from eval.records.requests import RequestRecord

from ..odd_server import USAGE, answering, content, delta, event, stream

WORDS = content("one", " two", " three")
CALL = {"tool_calls": [{"index": 0, "function": {"name": "add", "arguments": None}}]}
ARGUMENTS = {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}
LIST = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "one"}]


def framed(ending: str, *before: str) -> list[bytes]:
    """The same answer with other ends of lines, and other lines before each event."""
    lines = [part.decode().removesuffix("\n\n") for part in stream(*WORDS)]
    return [ending.join([*before, line, "", ""]).encode() for line in lines]


def over_lines() -> list[bytes]:
    """JSON over several ``data:`` lines."""
    return stream(
        *(
            "".join(f"data: {line}\n" for line in json.dumps(word, indent=1).split("\n")).encode()
            + b"\n"
            for word in WORDS
        )
    )


def byte_by_byte() -> list[bytes]:
    return [bytes([byte]) for part in framed("\r\n") for byte in part]


PLAIN = {"text": "one two three", "first": "content", "completion_tokens": 3}
GOOD: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "plain": (stream(*WORDS), PLAIN),
    "line-feeds": (framed("\n"), PLAIN),
    "carriage-returns": (framed("\r"), PLAIN),
    "both": (framed("\r\n"), PLAIN),
    "byte-by-byte": (byte_by_byte(), PLAIN),
    "no-space-after-the-colon": ([p.replace(b"data: ", b"data:") for p in stream(*WORDS)], PLAIN),
    "comments-and-fields": (framed("\n", ": ping", "event: message", "id: 7", "retry: 9"), PLAIN),
    "a-mark-before": ([b"\xef\xbb\xbf", *stream(*WORDS)], PLAIN),
    "json-over-lines": (over_lines(), PLAIN),
    "no-empty-line-at-the-end": ([*stream(*WORDS)[:-1], b"data: [DONE]"], PLAIN),
    "no-done": (stream(*WORDS)[:-1], PLAIN),
    "line-separators": (
        stream(*content("a\u2028b", "\u2029", "\x85c")),
        {"text": "a\u2028b\u2029\x85c"},
    ),
    "other-separators": (stream(*content("a\x0bb", "\x0c\x1c", "d")), {"text": "a\x0bb\x0c\x1cd"}),
    "nul": (stream(*content("a\x00b")), {"text": "a\x00b"}),
    "choices-null": (stream({"choices": None}, *WORDS), PLAIN),
    "choices-absent": (stream({"id": "c"}, *WORDS), PLAIN),
    "choices-empty": (stream({"choices": []}, *WORDS), PLAIN),
    "delta-null": (stream({"choices": [{"delta": None}]}, *WORDS), PLAIN),
    "delta-absent": (stream({"choices": [{"index": 0}]}, *WORDS), PLAIN),
    "usage-null-before": (stream({**delta(content="one two three"), "usage": None}), PLAIN),
    "usage-in-every-part": (stream(*({**word, "usage": USAGE} for word in WORDS)), PLAIN),
    "usage-of-whole-floats": (
        stream(*WORDS, usage={"prompt_tokens": 9.0, "completion_tokens": 3.0}),
        PLAIN,
    ),
    "an-id-that-is-a-number": (stream({"id": 7, "choices": []}, *WORDS), PLAIN),
    "fields-of-others": (stream({"x": [1], "metrics": [2], "choices": None}, *WORDS), PLAIN),
    "done-without-a-reason": (
        [*(event(w) for w in WORDS), event({"usage": USAGE}), b"data: [DONE]\n\n"],
        {**PLAIN, "finish_reason": None},
    ),
    "a-reason-and-an-id-with-half-a-pair": (
        stream(event({**delta("X", content="a"), "id": "X"}).replace(b"X", b"\\ud83d")),
        {"text": "a", "request_id": "c"},
    ),
    "half-pairs-that-meet": (
        stream(
            event(delta(content="X")).replace(b"X", b"\\ud83d"),
            event(delta(content="X")).replace(b"X", b"\\ude00"),
        ),
        {"text": "\U0001f600"},
    ),
    "bytes-that-are-no-utf8": (
        stream(event(delta(content="aXb")).replace(b"X", b"\xff")),
        {"text": "a\ufffdb"},
    ),
    "thoughts-alone": (
        stream(*(delta(reasoning_content=w, content=None) for w in ("a", "b"))),
        {"text": "", "reasoning": "ab", "first": "reasoning"},
    ),
    "thoughts-by-the-other-name": (
        stream(delta(reasoning="ab")),
        {"text": "", "reasoning": "ab", "first": "reasoning"},
    ),
    "thoughts-by-both-names": (
        stream(delta(reasoning="ab", reasoning_content="ab")),
        {"text": "", "reasoning": "ab", "first": "reasoning"},
    ),
    "thoughts-and-a-text": (
        stream(delta(reasoning_content="hm"), *WORDS),
        {"text": "one two three", "reasoning": "hm", "first": "reasoning"},
    ),
    "content-in-parts": (
        stream(delta(content=LIST)),
        {"text": "one", "reasoning": "hm", "first": "reasoning"},
    ),
    "a-tool-call": (
        stream(delta(**CALL), delta(**ARGUMENTS)),
        {"text": "", "tool_calls": 'add{"a": 1}', "first": "tool_calls"},
    ),
    "a-function-call": (
        stream(delta(function_call={"name": "add", "arguments": "{}"})),
        {"tool_calls": "add{}", "first": "tool_calls"},
    ),
    "a-refusal": (stream(delta(refusal="no")), {"text": "", "refusal": "no", "first": "refusal"}),
    "tokens-before-the-text": (
        stream({"choices": [{"delta": {}, "token_ids": [5]}]}, *WORDS),
        {"text": "one two three", "first": "tokens", "token_ids": [5]},
    ),
}
BAD: dict[str, tuple[list[bytes], str, bool]] = {
    "half-a-pair": (
        stream(*WORDS, event(delta(content="X")).replace(b"X", b"\\ud83d")),
        "half a surrogate pair",
        True,
    ),
    "null-counts": (
        stream(*WORDS, usage={"prompt_tokens": None, "completion_tokens": None}),
        "usage.prompt_tokens is None",
        True,
    ),
    "a-count-that-is-a-text": (
        stream(*WORDS, usage={"prompt_tokens": 9, "completion_tokens": "many"}),
        "usage.completion_tokens is 'many'",
        True,
    ),
    "a-count-below-zero": (
        stream(*WORDS, usage={"prompt_tokens": 9, "completion_tokens": -1}),
        "usage.completion_tokens is -1",
        True,
    ),
    "a-count-that-is-true": (
        stream(*WORDS, usage={"prompt_tokens": True, "completion_tokens": 3}),
        "usage.prompt_tokens is True",
        True,
    ),
    "usage-that-is-a-list": (stream(*WORDS, usage=[1]), "usage is a JSON list", True),
    "no-usage": (stream(*WORDS, usage=None), "the server sent no usage", True),
    "statistics-without-their-fields": (
        stream({"choices": None, "metrics": {"speculative_decoding": {"num_spec_steps": 1}}}),
        "KeyError",
        True,
    ),
    "an-error-with-half-a-pair": (
        stream(event({"error": "X full"}).replace(b"X", b"\\ud83d")),
        "\ufffd full",
        False,
    ),
    "content-that-is-a-number": (stream(delta(content=4)), "content is a JSON int", True),
    "choices-that-are-an-object": (stream({"choices": {}}), "choices is a JSON dict", True),
    "a-choice-that-is-a-text": (stream({"choices": ["x"]}), "a choice is a JSON str", True),
    "a-delta-that-is-a-list": (stream({"choices": [{"delta": []}]}), "is a JSON list", True),
    "a-part-that-is-a-list": (stream([1]), "a part of the stream is a JSON list", True),
    "a-part-that-is-no-json": (stream(b"data: {oops\n\n"), "JSONDecodeError", True),
    "a-part-that-is-nested": (
        stream(b"data: " + b"[" * 100_000 + b"\n\n"),
        "nested too deeply",
        True,
    ),
    "a-reason-that-is-an-object": (
        [event({"choices": [{"finish_reason": {"a": 1}}], "usage": USAGE})],
        "finish_reason",
        True,
    ),
    "ids-that-are-texts": (
        stream({"choices": [{"delta": {}, "token_ids": ["a", "b"]}]}, *WORDS),
        "token_ids",
        True,
    ),
    "an-error-of-the-server": (stream({"error": {"message": "full"}}), "sent an error", False),
    "an-error-that-is-a-text": (
        stream({"error": "full"}),
        "full",
        False,
    ),
    "nothing": ([], "no stream of events but text/event-stream", False),
    "no-end": (stream(*WORDS)[:3], "ended before the answer did", False),
    "cut-within-a-part": (
        [*stream(*WORDS)[:3], b'data: {"choices": [{"del'],
        "ended before",
        False,
    ),
    "a-page": ([b"<html>busy</html>"], "no stream of events", False),
}


@contextmanager
def beside_a_good_one(parts: list[bytes]) -> Iterator[str]:
    """A server that gives these to the first prompt, and a plain answer to all others."""
    good = stream(*WORDS)
    with answering(lambda body: parts if body["messages"][-1]["content"] == "one" else good) as url:
        yield url


def measured(url: str, folder: Path, *more: str) -> tuple[int, list[RequestRecord]]:
    """The exit code, and the records by prompt."""
    data = folder / "p.jsonl"
    data.write_text('{"id": "a", "prompt": "one"}\n{"id": "b", "prompt": "two"}\n')
    line = ["--base-url", url, "--dataset", str(data), "--output-dir", str(folder / "out")]
    code = speed_bench.main([*line, *more])
    lines = (folder / "out" / "requests.jsonl").read_bytes().split(b"\n")[:-1]
    found = [RequestRecord.model_validate_json(each) for each in lines]
    return code, sorted(found, key=lambda record: record.prompt_id)


@pytest.mark.parametrize("name", GOOD)
def test_an_answer_is_read_as_it_was_sent(name: str, tmp_path: Path) -> None:
    parts, told = GOOD[name]
    with beside_a_good_one(parts) as url:
        code, (record, _) = measured(url, tmp_path)
    assert (code, record.error) == (0, None)
    assert {field: getattr(record, field) for field in told} == told
    assert record.ttft_ms
    assert record.latency_ms
    assert record.ttft_ms <= record.latency_ms


@pytest.mark.parametrize("name", BAD)
def test_an_odd_answer_costs_one_request(name: str, tmp_path: Path) -> None:
    """The other request counts; an answer that came is not asked for again."""
    parts, why, answered = BAD[name]
    with beside_a_good_one(parts) as url:
        code, (odd, good) = measured(url, tmp_path)
        again = measured(url, tmp_path, "--resume")
    assert (code, good.error) == (0, None)
    assert why in (odd.error or "")
    assert odd.answered is answered
    assert (again[0], [record.prompt_id for record in again[1]]) == (0, ["a", "b"])
    failed = (tmp_path / "out" / "failed.jsonl").read_bytes().count(b"\n")
    assert failed == (0 if answered else 1)
