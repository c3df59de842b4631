"""The offline engine in a server's place: ``--server offline`` needs no other process.

Requests that wait are decoded together, each with its own temperature and room; those that come
meanwhile wait for the next batch. Plain decoding: there is no draft yet.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...offline.decode import Decoding
from ...offline.loading import load_target
from ...offline.target import OfflineTarget
from ...pretrained import read_config
from ..features.forward import pick
from .chat import Chat
from .client import Completion
from .settings import OFFLINE

CPU_TOKENS = 16_384
"""Of prompts and answers that are decoded together on a CPU."""
GPU_SHARE = 0.4
"""Of the GPU's free memory that their KV may take; activations of the prompts need the like."""


@dataclass(frozen=True)
class Asked:
    """One request, and where its answer goes."""

    prompt: list[int]
    room: int
    temperature: float
    reply: asyncio.Future[Completion]

    @property
    def size(self) -> int:
        return len(self.prompt) + self.room


class Engine:
    """What :class:`.client.Server` is to the other side.

    Args:
        tokens: of prompts and answers that are decoded together at most.
        until: time (``time.monotonic``) at which answers are cut short.
    """

    model = address = OFFLINE
    returns_ids = True

    def __init__(self, target: OfflineTarget, chat: Chat, tokens: int, until: float) -> None:
        self.target, self.stop = target, tuple(chat.stop) or (-1,)
        self.tokens, self.until = tokens, until
        self.limit = min(chat.limit or 1 << 30, target.shape.max_position_embeddings)
        self.waiting: list[Asked] = []
        self.working: asyncio.Task[None] | None = None

    @classmethod
    def load(cls, folder: Path, chat: Chat, device: str, until: float) -> Engine:
        """On a device, in the number type that is fast there.

        Raises:
            ValueError: in one line, for a target that cannot be loaded.
        """
        place, dtype = pick(device, "auto")
        target = OfflineTarget(load_target(folder, read_config(folder), place, dtype))
        return cls(target, chat, _room(target), until)

    async def aclose(self) -> None:
        """Drop what is being decoded."""
        self.until = 0.0
        if self.working is not None:
            await asyncio.gather(self.working, return_exceptions=True)

    async def complete(self, prompt: Sequence[int], room: int, temperature: float) -> Completion:
        """At most ``room`` tokens after the prompt."""
        reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self.waiting.append(Asked(list(prompt), room, temperature, reply))
        if self.working is None or self.working.done():
            self.working = asyncio.create_task(self._work())
        return await reply

    async def _work(self) -> None:
        while self.waiting:
            await asyncio.sleep(0)  # all who can ask do
            batch = self._take()
            try:
                found = await asyncio.to_thread(self._decode, batch)
            except Exception as error:
                for asked in (*batch, *self.waiting):
                    if not asked.reply.done():
                        asked.reply.set_exception(error)
                self.waiting.clear()
                return
            for asked, completion in zip(batch, found, strict=True):
                if not asked.reply.done():
                    asked.reply.set_result(completion)

    def _take(self) -> list[Asked]:
        """Of the like lengths that most requests have (within a factor of two, as each is padded to
        the longest), as many as may be held."""
        kinds = Counter(asked.size.bit_length() for asked in self.waiting)
        kind = max(kinds, key=lambda one: (kinds[one], one))
        alike = [asked for asked in self.waiting if asked.size.bit_length() == kind]
        batch = alike[: max(1, self.tokens // max(asked.size for asked in alike))]
        taken = {id(asked) for asked in batch}
        self.waiting = [asked for asked in self.waiting if id(asked) not in taken]
        return batch

    def _decode(self, batch: list[Asked]) -> list[Completion]:
        decoding = Answers(self.target, batch, self.stop, lambda: time.monotonic() > self.until)
        decoding.run()
        rows = [row.known[row.prompt :].tolist() for row in decoding.all]
        return [Completion(ids, _finish(ids, self.stop), False) for ids in rows]


class Answers(Decoding):
    """Plain decoding in which each row has a temperature and a room of its own."""

    def __init__(
        self,
        target: OfflineTarget,
        batch: Sequence[Asked],
        stop: Sequence[int],
        late: Callable[[], bool],
    ) -> None:
        lengths = [len(asked.prompt) for asked in batch]
        ids = torch.zeros(len(batch), max(lengths), dtype=torch.int64)
        for row, asked in zip(ids, batch, strict=True):
            row[: len(asked.prompt)] = torch.tensor(asked.prompt)
        most = max(asked.room for asked in batch)
        super().__init__(target, ids.to(target.device), lengths, most, stop, 1.0, None)
        for row, asked in zip(self.all, batch, strict=True):
            row.tokens = row.tokens[: asked.size]
        heats = [asked.temperature for asked in batch]
        self.heats, self.late = torch.tensor(heats, device=target.device), late

    def _step(self) -> None:
        if self.late():
            self.rows = []
            return
        super()._step()

    def _draw(self, logits: Tensor) -> Tensor:
        """Next tokens ``[B]``: the likeliest, or where a row has a temperature, drawn."""
        heats = self.heats[[row.index for row in self.rows]]
        best = logits.argmax(-1)
        if not bool(heats.any()):
            return best
        scaled = logits.float() / heats.clamp(min=1e-6)[:, None]
        drawn = torch.multinomial(scaled.softmax(-1), 1)[:, 0]
        return torch.where(heats > 0, drawn, best)


def _finish(ids: list[int], stop: Sequence[int]) -> str:
    return "stop" if ids and ids[-1] in stop else "length"


def _room(target: OfflineTarget) -> int:
    if target.device.type != "cuda":
        return CPU_TOKENS
    shape, config = target.shape, target.model.config
    each = 2 * config.num_hidden_layers * shape.num_key_value_heads * shape.head_dim
    free, _ = torch.cuda.mem_get_info(target.device)
    return int(free * GPU_SHARE) // (each * target.embedding.element_size())
