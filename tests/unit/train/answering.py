"""A scripted OpenAI-compatible server of completions, and a tokenizer of two hundred words."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

UNKNOWN, EOS, USER, BOT = range(4)
SPECIAL = ["<unk>", "<eos>", "<user>", "<bot>"]
WORDS = [f"w{i}" for i in range(200)]
VOCABULARY = [*SPECIAL, *WORDS]
TEMPLATE = (
    "{% for m in messages %}<user> {{ m['content'] }} <eos>{% endfor %}"
    "{% if add_generation_prompt %} <bot>{% endif %}"
)
Reply = tuple[list[int], str]


def write_target(folder: Path, template: str | None = TEMPLATE) -> Path:
    """A target that has a tokenizer and configs, but no weights: the server is scripted."""
    model = WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<eos>",
        additional_special_tokens=["<user>", "<bot>"],
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [EOS]}))
    return folder


def words(seed: object, count: int) -> list[int]:
    """Ids of words, the same for the same seed."""
    draw = random.Random(repr(seed))
    return [draw.randrange(len(SPECIAL), len(VOCABULARY)) for _ in range(count)]


def plain_answer(prompt: list[int], _number: int) -> Reply:
    """Twelve words and the end."""
    return [*words(prompt, 12), EOS], "stop"


def own_prompt(_prompt: list[int], number: int) -> Reply:
    """Ten words, others each time."""
    return [*words(number, 10), EOS], "stop"


@dataclass
class Script:
    """What the server does; ``number`` counts requests."""

    answer: Callable[[list[int], int], Reply] = plain_answer
    own: Callable[[list[int], int], Reply] = own_prompt
    model: str = "tiny"
    gives_ids: bool = True
    takes_ids: bool = True  # or else it refuses ids, and options that are not OpenAI's
    keeps_end: bool = True  # whether the id that ends an answer is among its ids
    delay: float = 0.0
    fails: set[int] = field(default_factory=set)  # requests that get HTTP 500
    fails_from: int = 1 << 30
    seen: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The choice for a request; None for an error."""
        self.seen.append(body)
        number = len(self.seen)
        if isinstance(body["prompt"], str):
            body["prompt"] = [VOCABULARY.index(word) for word in body["prompt"].split()]
        if number in self.fails or number >= self.fails_from:
            return None
        make = self.own if body["prompt"] == [USER] else self.answer
        ids, finish = make(body["prompt"], number)
        if len(ids) > body["max_tokens"]:
            ids, finish = ids[: body["max_tokens"]], "length"
        text = " ".join(VOCABULARY[i] for i in ids if i != EOS)
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        if self.gives_ids and body.get("return_token_ids"):
            choice["token_ids"] = ids if self.keeps_end else [i for i in ids if i != EOS]
        return choice

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Requests for answers: not the first, which looks at the server, and no user's turns."""
        return [body for body in self.seen[1:] if body["prompt"] != [USER]]


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The address of a server in a thread of its own."""
    started: Future[tuple[str, Callable[[], object]]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(script, started)), daemon=True)
    thread.start()
    address, stop = started.result(10)
    try:
        yield address
    finally:
        stop()
        thread.join(5)


async def _serve(script: Script, started: Future[tuple[str, Callable[[], object]]]) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    app = web.Application()
    app.router.add_get("/v1/models", lambda request: _models(script))
    app.router.add_post("/v1/completions", lambda request: _complete(script, request))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    started.set_result((address, lambda: loop.call_soon_threadsafe(end.set)))
    await end.wait()
    await runner.cleanup()


async def _models(script: Script) -> web.Response:
    about = {"id": script.model, "object": "model", "max_model_len": 2000}
    return web.json_response({"object": "list", "data": [about]})


async def _complete(script: Script, request: web.Request) -> web.Response:
    body = await request.json()
    if not script.takes_ids and (isinstance(body["prompt"], list) or "return_token_ids" in body):
        return web.json_response({"error": {"message": "not a text"}}, status=400)
    choice = script.reply(body)
    await asyncio.sleep(script.delay)
    if choice is None:
        return web.json_response({"error": {"message": "out of memory"}}, status=500)
    whole = {"id": "x", "object": "text_completion", "created": 0, "model": script.model}
    return web.json_response({**whole, "choices": [choice]})
