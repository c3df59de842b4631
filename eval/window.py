"""One arm, one round, on a server that runs: warm-up, snapshot, prompts, snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from .checks import served_model
from .client import Driver
from .datasets import Prompt
from .errors import UserError
from .options import Options
from .readers import Counters, reader_of
from .records import RequestRecord
from .runs import ArmRun
from .server import Server

SETTLE_SECONDS = 0.3  # the server counts its last step just after the client has seen it
EXPORT_SECONDS = 2.0  # and writes of a request just after its answer


class Window:
    """Measures prompts on one server and adds what it finds to an ``ArmRun``."""

    def __init__(
        self,
        options: Options,
        server: Server,
        run: ArmRun,
        round_: int,
        export: Path | None = None,
    ) -> None:
        self.options, self.server, self.run, self.round = options, server, run, round_
        self.export = export
        self.reader = reader_of(options.engine)
        asked = options.model if server.process is None else None
        self.model, self.limit = served_model(server.url, asked)
        self.http = httpx.Client(base_url=server.url, timeout=30, trust_env=False)

    def warm_up(self) -> None:
        """Requests that no number counts."""
        asyncio.run(self._driver().warm_up())

    def fitting(self, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[str]]:
        """Prompts whose first turn and answer fit the context, and the ids of the others.

        All are taken as fitting where the server has no ``/tokenize``.
        """
        room = (self.limit or 0) - self.options.output_len
        long = [p.prompt_id for p in prompts if self.limit and (self._tokens(p) or 0) > room]
        if len(long) == len(prompts):
            raise UserError(
                f"--output-len {self.options.output_len}: no prompt fits a context of {self.limit}"
                " tokens beside it; give a smaller one or a larger --max-model-len"
            )
        return [prompt for prompt in prompts if prompt.prompt_id not in long], long

    def measure(self, prompts: Sequence[Prompt], done: Callable[[RequestRecord], None]) -> None:
        """Drive the prompts between two snapshots; keeps what there is when interrupted."""

        def keep(record: RequestRecord) -> None:
            self.run.records.append(record)
            done(record)
            if record.error:
                self.server.check_alive(1.0 if "onnection" in record.error else 0.0)

        before = self._counters()
        started = time.perf_counter()
        try:
            asyncio.run(self._driver().drive(prompts, self.run.name, self.round, keep))
        finally:
            self.run.seconds += time.perf_counter() - started
            self._read_export()
        time.sleep(SETTLE_SECONDS)
        after = self._counters()
        if before is not None and after is not None:
            self.run.counters = (self.run.counters or Counters()) + (after - before)

    def _driver(self) -> Driver:
        return Driver(self.server.url, self.model, self.options, self.reader)

    def _counters(self) -> Counters | None:
        try:
            answer = self.http.get("/metrics")
            return self.reader.counters(answer.raise_for_status().text)
        except (httpx.HTTPError, ValueError):
            return None

    def _read_export(self) -> None:
        """Join what the server wrote with our requests; warm-ups and strangers have other ids."""
        if self.export is None:
            return
        filed = self.run.filed = self.run.filed or {}
        until = time.monotonic() + EXPORT_SECONDS
        while True:
            found = self.reader.of_folder(self.export)
            ours = [record.request_id or "" for record in self.run.good]
            filed.update({name: found[name] for name in ours if name in found})
            if not self.run.not_filed or time.monotonic() > until:
                return
            time.sleep(0.1)

    def _tokens(self, prompt: Prompt) -> int | None:
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt.turns[0]}]}
        try:
            answer = self.http.post("/tokenize", json=body)
            return int(answer.raise_for_status().json()["count"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
