"""What users reported against engines' speculation, asked of any server that speaks OpenAI's API.

Each case is a function of a server that returns all that its users see: texts, token ids, reasons,
usage, log-probabilities, errors. A server with trees must return what the plain one returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

Seen = Any
"""JSON-like values."""
STORY = "<|im_start|>user\nTell a story of a fox.<|im_end|>\n<|im_start|>assistant\n"
COUNTING = "one two three four five six seven eight nine ten one two three four five six"
SHORT = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = (STORY, COUNTING, SHORT)
HIDDEN = ("id", "created", "system_fingerprint", "metadata", "service_tier", "kv_transfer_params")


@dataclass(frozen=True)
class Server:
    """A server to ask, and the longest text that it takes."""

    http: httpx.Client
    model: str
    limit: int = 1024

    def ask(self, path: str = "completions", **body: Any) -> Seen:
        """One answer or error, without what differs between any two answers."""
        asked = {"model": self.model, "temperature": 0, "max_tokens": 16, **body}
        reply = self.http.post(f"/v1/{path}", json=asked)
        found = reply.json()
        if reply.status_code != 200:
            return {"status": reply.status_code, "error": found}
        return {name: value for name, value in found.items() if name not in HIDDEN}

    def ask_all(self, bodies: Sequence[dict[str, Any]]) -> list[Seen]:
        """Many at once, so that requests of all kinds meet in one batch."""
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda body: self.ask(**body), bodies))

    def stream(self, most: int | None = None, **body: Any) -> Seen:
        """The streamed text and why it ended; after ``most`` pieces the client hangs up."""
        asked = {"model": self.model, "temperature": 0, "max_tokens": 16, "stream": True, **body}
        text, reason, pieces = "", None, 0
        with self.http.stream("POST", "/v1/completions", json=asked) as reply:
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["text"]
                    reason = choice["finish_reason"] or reason
                pieces += 1
                if most is not None and pieces >= most:
                    break
        return {"text": text, "finish_reason": reason}


def stops_whole(server: Server) -> Seen:
    """Stop strings that end inside an accepted path, and inside a token."""
    stops = ["e", " the", ".", "\n", "four five", "x, ", "ox"]
    return server.ask_all([{"prompt": p, "stop": [s]} for s in stops for p in PROMPTS[:2]])


def stops_streamed(server: Server) -> Seen:
    with ThreadPoolExecutor(8) as pool:
        asked = [(prompt, stop) for prompt in PROMPTS[:2] for stop in (" the", "e", "seven")]
        return list(pool.map(lambda a: server.stream(prompt=a[0], stop=[a[1]]), asked))


def lengths(server: Server) -> Seen:
    return server.ask_all([{"prompt": STORY, "max_tokens": n} for n in range(1, 15)])


def minimum_with_stop(server: Server) -> Seen:
    bodies = [{"prompt": p, "min_tokens": n} for p in PROMPTS for n in (1, 3, 9)]
    return server.ask_all([*bodies, {"prompt": STORY, "min_tokens": 6, "stop": [" the"]}])


def end_ignored(server: Server) -> Seen:
    return server.ask_all([{"prompt": SHORT, "ignore_eos": True}, {"prompt": SHORT}])


def many_answers(server: Server) -> Seen:
    drawn = {"temperature": 0.8, "n": 4, "seed": 7}
    return server.ask_all([{"prompt": p, **drawn} for p in PROMPTS])


def logprobs(server: Server) -> Seen:
    return server.ask_all([{"prompt": STORY, "logprobs": n} for n in (0, 1, 5, 50)])


def prompt_logprobs(server: Server) -> Seen:
    """Beside requests that are drafted."""
    plain = [{"prompt": COUNTING}, {"prompt": STORY}]
    return server.ask_all([{"prompt": p, "prompt_logprobs": 2} for p in PROMPTS] + plain)


def echoes(server: Server) -> Seen:
    return server.ask_all([{"prompt": p, "echo": True, "logprobs": 1} for p in PROMPTS])


def near_the_limit(server: Server) -> Seen:
    """Prompts of the last lengths that fit, and the first that do not."""
    rooms = (20, 13, 7, 3, 2, 1, 0, -1)
    bodies = [{"prompt": [281, 1024] * (server.limit // 2 + 1)} for _ in rooms]
    for body, room in zip(bodies, rooms, strict=True):
        body |= {"prompt": body["prompt"][: server.limit - room], "max_tokens": max(room, 1)}
    return server.ask_all([{**body, "ignore_eos": True} for body in bodies])


def hang_up_and_ask_again(server: Server) -> Seen:
    """Sixteen clients leave in the middle; then the same prefixes are asked to the end."""
    prompts = [f"{COUNTING} {n}" for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        left = pool.map(
            lambda p: server.stream(2, prompt=p, max_tokens=200, ignore_eos=True), prompts
        )
        assert all(seen["text"] for seen in left)
    return server.ask_all([{"prompt": prompt} for prompt in prompts])


def turns(server: Server) -> Seen:
    """A conversation that goes on from the server's own answers."""
    said: list[dict[str, str]] = []
    for question in ("Name three birds.", "Which of them can swim?", "Say that again."):
        said.append({"role": "user", "content": question})
        found = server.ask("chat/completions", messages=said)
        said.append({"role": "assistant", "content": found["choices"][0]["message"]["content"]})
    return said


def tool_calls(server: Server) -> Seen:
    """A function that must be called, beside a conversation with none."""
    place = {"type": "string", "enum": ["Bern", "Oslo", "Lima"]}
    arguments = {
        "type": "object",
        "properties": {"place": place, "days": {"type": "integer"}},
        "required": ["place", "days"],
    }
    function = {"name": "weather", "description": "Tells the weather.", "parameters": arguments}
    asked = {
        "path": "chat/completions",
        "messages": [{"role": "user", "content": "How will the weather be in Oslo for 3 days?"}],
        "max_tokens": 40,
    }
    called = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }
    found = server.ask_all([{**asked, **called}, asked])
    for choice in found[0].get("choices", ()):
        for call in choice["message"].get("tool_calls") or ():
            call.pop("id")  # random
    return found


def beams(server: Server) -> Seen:
    return server.ask_all([{"prompt": p, "use_beam_search": True, "n": 2} for p in PROMPTS])


def smallest_prompts(server: Server) -> Seen:
    prompts: list[Any] = ["a", [42], "", [], " ", [[42], [43]]]
    return server.ask_all([{"prompt": prompt} for prompt in prompts])


def prompts_given(server: Server, embed: Callable[[str], str] | None = None) -> Seen:
    """Prompts of all lengths, greedy and seeded, as text or as ``embed`` writes them.

    (No repetition penalty: vLLM 0.32 takes for the tokens of embeddings what an earlier request has
    left in their place.)
    """
    drawn = {"temperature": 0.8, "seed": 5}
    kinds: list[dict[str, Any]] = [{"logprobs": 1}, drawn, {"presence_penalty": 1.0}]
    texts = (*PROMPTS, "a", COUNTING * 8)
    given = [{"prompt": None, "prompt_embeds": embed(t)} if embed else {"prompt": t} for t in texts]
    found = server.ask_all([{**g, **k, "max_tokens": 24} for g in given for k in kinds])
    return [seen.get("choices", seen) for seen in found]


CASES: tuple[Callable[[Server], Seen], ...] = (
    *(stops_whole, stops_streamed, lengths, minimum_with_stop, end_ignored, many_answers),
    *(logprobs, prompt_logprobs, echoes, near_the_limit, hang_up_and_ask_again, turns),
    tool_calls,
    *(beams, smallest_prompts),
)


def same(left: Seen, right: Seen, path: str = "") -> None:
    """Assert that both servers said the same; numbers with a fraction are equal within 2e-3."""
    if isinstance(left, dict) and isinstance(right, dict):
        assert left.keys() == right.keys(), path
        for name in left:
            same(left[name], right[name], f"{path}.{name}")
    elif isinstance(left, list) and isinstance(right, list):
        assert len(left) == len(right), path
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            same(a, b, f"{path}[{i}]")
    elif isinstance(left, float) and isinstance(right, float):
        assert left == pytest.approx(right, abs=2e-3), path
    else:
        assert left == right, path
