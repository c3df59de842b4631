"""Requests in flight: prompts are taken, or written by the target, and answered."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ..prompts.overlap import words
from .chat import Chat
from .client import Completion
from .filters import Gate
from .loops import loop_start
from .settings import AnswersSettings
from .source import Prompt
from .store import Answer, Finish, Journal

OWN_TEMPERATURE, OWN_TOKENS, OWN_WORDS = 0.9, 160, 4
LEAST_ROOM = 32
OWN = "self"
PATIENCE = 5000  # refused prompts in a row, after which there seem to be no new ones


class Model(Protocol):
    """What answers: a server, or the offline engine.

    Attributes:
        model: its name.
        limit: most tokens of prompt and answer.
        returns_ids: whether it tells the tokens it wrote.
    """

    model: str
    limit: int
    returns_ids: bool

    async def complete(self, prompt: Sequence[int], room: int, temperature: float) -> Completion:
        """At most ``room`` tokens after the prompt."""
        ...

    async def aclose(self) -> None:
        """Let it go."""
        ...


class Answering:
    """Fills a journal with as many requests at a time as the settings say.

    Args:
        prompts: not answered yet; the run ends with them, or at ``settings.tokens``.
        show: called after each answer.
        until: time (``time.monotonic``) after which nothing more is asked.
    """

    def __init__(
        self,
        settings: AnswersSettings,
        chat: Chat,
        server: Model,
        journal: Journal,
        gate: Gate,
        prompts: Iterator[Prompt],
        show: Callable[[], None],
        until: float = math.inf,
    ) -> None:
        self.settings = settings
        self.chat = chat
        self.server = server
        self.journal = journal
        self.gate = gate
        self.prompts = prompts
        self.show, self.until = show, until
        self.own = journal.sequences[OWN]
        self.others = journal.sequences.total() - self.own

    @property
    def enough(self) -> bool:
        return self.journal.tokens.total() >= self.settings.tokens

    @property
    def _over(self) -> bool:
        return self.enough or time.monotonic() > self.until

    async def run(self) -> None:
        """Until there are enough tokens or no more prompts; what is in flight then is dropped.

        Raises:
            ValueError: one line, when the server fails for good.
        """
        streams = [asyncio.create_task(self._stream()) for _ in range(self.settings.streams)]
        try:
            for stream in asyncio.as_completed(streams):
                await stream
                if self.enough:
                    return
        finally:
            for task in streams:
                task.cancel()
            await asyncio.gather(*streams, return_exceptions=True)

    async def _stream(self) -> None:
        while not self._over and (prompt := await self._next()) is not None:
            await self._answer(prompt)

    async def _next(self) -> Prompt | None:
        """A prompt of the target's own if their share is too small, else the next of the others."""
        if self.own + 1 <= self.settings.self_written * (self.own + self.others + 1):
            self.own += 1  # at once: others ask before this one is written
            if (prompt := await self._own()) is not None:
                return prompt
            self.own -= 1
        for _ in range(PATIENCE):
            candidate = next(self.prompts, None)
            if candidate is None:
                return None
            if self.gate.admit(candidate.source, candidate.text):
                self.others += 1
                return candidate
        raise ValueError(
            f"the last {PATIENCE:,} prompts were all like earlier ones; allow more --categories"
        )

    async def _own(self) -> Prompt | None:
        """A prompt that the target writes when it is given its template up to the user's words.

        Magpie (arXiv 2406.08464). Kept if it ends by itself, has four words and no loop.
        """
        turn = self.chat.user_turn or []
        completion = await self.server.complete(turn, OWN_TOKENS, OWN_TEMPERATURE)
        text = self.chat.text(completion.ids).strip()
        bad = completion.finish != "stop" or len(words(text)) < OWN_WORDS
        if bad or loop_start(_body(completion.ids, self.chat.stop)) is not None:
            self.gate.refused["self-written without end or sense"] += 1
            return None
        if not self.gate.admit("self", text):
            return None
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return Prompt(f"{OWN}-{digest}", OWN, "self", text)

    async def _answer(self, prompt: Prompt) -> None:
        ids = self.chat.prompt_ids(prompt.text)
        temperature, room = self._draw(prompt.id)
        left = self.server.limit - len(ids) - 1
        if left < min(room, LEAST_ROOM):
            self.gate.refused["too long for the context"] += 1
            return
        completion = await self.server.complete(ids, min(room, left), temperature)
        answer = self._finished(prompt, ids, temperature, completion)
        if answer is not None and not self.enough:
            self.journal.add(answer)
            self.show()

    def _draw(self, name: str) -> tuple[float, int]:
        """Temperature and most tokens of an answer: by the prompt's id, so every run agrees."""
        draw = random.Random(f"{self.settings.seed}/{name}")
        greedy = draw.random() < self.settings.greedy
        heat = round(draw.uniform(*self.settings.temperatures), 3)
        return 0.0 if greedy else heat, draw.randint(*self.settings.lengths)

    def _finished(
        self, prompt: Prompt, ids: list[int], temperature: float, completion: Completion
    ) -> Answer | None:
        finish: Finish = "stop" if completion.finish == "stop" else "length"
        answer = completion.ids
        if completion.finish not in ("stop", "length"):
            self.gate.refused[f"ended by the server ({completion.finish})"] += 1
            return None
        if not _body(answer, self.chat.stop):
            self.gate.refused["empty answers"] += 1
            return None
        keep = loop_start(answer)
        if keep is not None:
            answer, finish = answer[:keep], "loop"
        return Answer(
            id=prompt.id,
            category=prompt.category,
            source=prompt.source,
            prompt_ids=ids,
            answer_ids=answer,
            temperature=temperature,
            finish=finish,
            ids="retokenised" if completion.retokenised else "server",
            prompt=prompt.text,
        )


def _body(ids: list[int], stop: list[int]) -> list[int]:
    """Tokens without the one that ends them."""
    return ids[:-1] if ids and ids[-1] in stop else ids
