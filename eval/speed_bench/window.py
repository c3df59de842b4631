"""One arm under one condition, on servers that run: warm-up, snapshot, prompts, snapshot."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import httpx

from ..cli.errors import UserError
from ..cli.options import Options
from ..cli.sweep import Place
from ..datasets import Prompt
from ..records.counters import Counters
from ..records.journal import Key, counters_as_dict
from ..records.jsontext import an_object, parsed
from ..records.requests import RequestRecord
from ..records.windows import WindowRecord
from ..servers.addresses import served_model
from ..servers.readers import reader_of
from ..servers.server import Server
from . import stopping
from .client import Driver, opening, user

SETTLE_SECONDS = 0.3  # the server counts its last step just after the client has seen it


class Window:
    """Measures prompts on the replicas of one server; a window may not be used twice."""

    def __init__(
        self, options: Options, servers: Sequence[Server], place: Place, asked: str | None
    ) -> None:
        self.options, self.servers = options, servers
        self.place = replace(place, window=uuid.uuid4().hex[:12])
        self.reader = reader_of(options.engine)
        offered = [served_model(server.address, asked) for server in servers]
        self.model, self.limit, self.root = offered[0]
        addresses = [server.address for server in servers]
        self.http = [address.client() for address in addresses]
        self.driver = Driver(addresses, self.model, options, self.reader)
        self.too_long: list[str] = []

    def fitting(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Prompts whose first turn and answer fit the context; ``too_long`` has the others.

        All are taken as fitting where the server has no ``/tokenize``.
        """
        room = (self.limit or 0) - self.options.output_len
        long = {p.prompt_id for p in prompts if self.limit and (self._rendered(p) or 0) > room}
        if prompts and len(long) == len(prompts):
            raise UserError(
                f"--output-len {self.options.output_len}: no prompt fits a context of {self.limit}"
                " tokens beside it; give a smaller one or a larger --max-model-len"
            )
        self.too_long = sorted(long)
        return [prompt for prompt in prompts if prompt.prompt_id not in long]

    def warm_up(self) -> None:
        """Requests that no number counts."""
        stopping.run(self.driver.warm_up(self.place.condition))

    def measure(
        self,
        prompts: Sequence[Prompt],
        known: Mapping[Key, RequestRecord],
        done: Callable[[RequestRecord], None],
        close: Callable[[WindowRecord], None],
    ) -> None:
        """Drive the prompts between two snapshots.

        ``done`` gets each record as it ends; ``close`` gets the window, also when interrupted.
        """
        self.raw = self._raw_tokens(prompts)
        self.failed, self.before, self.started = 0, self._counters(), time.time()

        def keep(record: RequestRecord) -> None:
            done(record)
            if record.error:
                self.failed += 1
                if record.answered:
                    return
                for server in self.servers:
                    server.check_alive(1.0 if "onnection" in record.error else 0.0)

        try:
            stopping.run(self.driver.drive(prompts, self.place, keep, known))
        except BaseException:
            self.failed += 1  # what was in flight is in the counters and in no record
            raise
        finally:
            close(self._record(time.time()))

    def _record(self, ended: float) -> WindowRecord:
        time.sleep(SETTLE_SECONDS)
        pairs = zip(self.before, self._counters(), strict=True)
        spent = [b - a if a is not None and b is not None else None for a, b in pairs]
        return WindowRecord(
            window=self.place.window,
            arm=self.place.arm,
            round=self.place.round,
            concurrency=self.place.condition.concurrency,
            temperature=self.place.condition.temperature,
            started=self.started,
            ended=ended,
            failed=self.failed,
            counters=counters_as_dict(spent),
            too_long=self.too_long,
            raw_prompt_tokens=self.raw,
            model_root=self.root,
        )

    def _counters(self) -> list[Counters | None]:
        return [self._counters_of(client) for client in self.http]

    def _counters_of(self, client: httpx.Client) -> Counters | None:
        try:
            answer = client.get("/metrics")
            return self.reader.counters(answer.raise_for_status().text)
        except (httpx.HTTPError, ValueError, KeyError, OverflowError):
            return None

    def _raw_tokens(self, prompts: Sequence[Prompt]) -> dict[str, int]:
        """Tokens of the first prompt without a chat template, to see whether one is applied."""
        first = prompts[0] if prompts else None
        bare = "\n".join(filter(None, [first.system, first.turns[0]])) if first else ""
        count = self._tokens({"prompt": bare}) if first else None
        return {first.prompt_id: count} if first and count is not None else {}

    def _rendered(self, prompt: Prompt) -> int | None:
        return self._tokens({"messages": [*opening(prompt), *user(prompt.turns[0])]})

    def _tokens(self, what: dict[str, object]) -> int | None:
        try:
            answer = self.http[0].post("/tokenize", json={"model": self.model, **what})
            return int(an_object(parsed(answer.raise_for_status().content), "it")["count"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
