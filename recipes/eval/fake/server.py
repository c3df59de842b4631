"""Serves a script: thousands of streams at once, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

from .chunks import chunks, whole
from .script import BaseScript

HOST = "127.0.0.1"
BACKLOG = 4096  # a burst of connections must not be refused
MAX_BODY = 2**26  # bytes; aiohttp's own limit is below a long prompt
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """The HTTP interface of a script."""

    def __init__(self, script: BaseScript) -> None:
        self.script, self.gate = script, asyncio.Event()
        app = web.Application(middlewares=[self._faults], client_max_size=MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        self.runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True
        )

    async def start(self, port: int) -> str:
        """The address, once it answers there."""
        await self.runner.setup()
        self.site = web.TCPSite(self.runner, HOST, port, backlog=BACKLOG, reuse_address=True)
        await self.site.start()
        return f"http://{HOST}:{self.runner.addresses[0][1]}"

    async def die(self) -> None:
        """Refuse connections from now on, and break those that there are."""
        await self.site.stop()
        server = self.runner.server
        for connection in server.connections if server else []:
            if connection.transport is not None:
                connection.transport.abort()

    @web.middleware
    async def _faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self._hang_if_told()
        with suppress(ConnectionError):  # a client that was stopped has gone
            return await handler(request)
        return web.Response()

    async def _hang_if_told(self, also: bool = False) -> None:
        if also or _over(self.script.hang_after, self.script):
            await asyncio.Event().wait()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self.script.core_dead else 200)

    async def _models(self, request: web.Request) -> web.Response:
        limit, root = self.script.max_model_len, self.script.root
        model = {"id": "fake", "max_model_len": limit, **({"root": root} if root else {})}
        return web.json_response({"object": "list", "data": [model]})

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.script.no_metrics:
            raise web.HTTPNotFound
        return web.Response(text=self.script.exposition())

    async def _tokenize(self, request: web.Request) -> web.Response:
        count = self.script.count_prompt(await request.json())
        told = {"count": count, "max_model_len": self.script.max_model_len}
        return web.json_response({**told, "tokens": list(range(count))})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        script, body = self.script, await request.json()
        script.seen.append(body)
        await self._hang_if_told()
        if _over(script.die_after, script):
            await self.die()
        script.core_dead |= _over(script.core_dies_after, script)
        if script.restart_after is not None and len(script.seen) == script.restart_after + 1:
            script.totals.clear()
        if refused := _refusal(script, body):
            return refused
        script.in_flight += 1
        script.most_in_flight = max(script.most_in_flight, script.in_flight)
        if script.in_flight >= script.gate:
            self.gate.set()
        try:
            return await (self._stream if body.get("stream") else self._whole)(request, body)
        finally:
            script.in_flight -= 1

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        script, prompt = self.script, body["messages"][-1]["content"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self._think(prompt)
        for number, chunk in enumerate(chunks(script, body, script.reply(body))):
            if number == 2 and prompt in script.break_off and request.transport:
                request.transport.abort()
            await response.write(chunk)
            await asyncio.sleep(script.chunk_delay)  # also lets other streams go on
        return response

    async def _whole(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        prompt = body["messages"][-1]["content"]
        await self._think(prompt)
        if prompt in self.script.break_off and request.transport:
            request.transport.abort()
        return web.json_response(whole(self.script, body, self.script.reply(body)))

    async def _think(self, prompt: str) -> None:
        await self.gate.wait()
        await asyncio.sleep(self.script.delay)
        await self._hang_if_told(prompt in self.script.hang)


def _over(limit: int | None, script: BaseScript) -> bool:
    return limit is not None and len(script.seen) > limit


def _refusal(script: BaseScript, body: dict[str, Any]) -> web.Response | None:
    """An error in place of an answer, in the words of vLLM."""
    if script.core_dead:
        text = "EngineCore encountered an issue. See stack trace (above) for the root cause."
        return _error(500, text, "EngineDeadError")
    if body["messages"][-1]["content"] in script.fail:
        return _error(500, "scripted failure", "InternalServerError")
    told, most = script.count_prompt(body), script.max_model_len
    if told + (body.get("max_tokens") or 0) > most:
        text = f"This model's maximum context length is {most} tokens. However, your prompt"
        return _error(400, f"{text} contains {told} input tokens", "BadRequestError")
    return None


def _error(status: int, message: str, kind: str) -> web.Response:
    told = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": told}, status=status)


@contextmanager
def serving(script: BaseScript, port: int = 0) -> Iterator[str]:
    """The address of a server that follows ``script``; port 0 is any free one."""
    ready: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        engine, stop = FakeEngine(script), asyncio.Event()
        try:
            ready.set_result((await engine.start(port), asyncio.get_running_loop(), stop))
            await stop.wait()
        except OSError as error:
            ready.set_exception(error)
        finally:
            await engine.runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    url, loop, stop = ready.result(timeout=10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
