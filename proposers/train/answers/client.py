"""An OpenAI-compatible server, asked for completions by token ids.

vLLM and SGLang (0.5.23) both take ids as a prompt and give ids back (`return_token_ids`, one list
in each choice). Of other servers the text is tokenised here; those that refuse ids, or options that
are not OpenAI's, are given the prompt as text and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

from .chat import Chat

RETRIES = 5  # with back-off by the client: half a second, then twice as long each time
TIMEOUT = 1800.0  # seconds; a request may wait long for its turn on a CPU
REFUSED = (400, 422)  # statuses of a request that is not understood
# The model as it is, not as its generation_config.json would have it sampled.
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}


@dataclass(frozen=True)
class Completion:
    """What the target wrote; ``finish`` is the server's reason (stop, length, others)."""

    ids: list[int]
    finish: str
    retokenised: bool


class Server:
    """A connection to a server; `find` makes one."""

    def __init__(self, client: AsyncOpenAI, chat: Chat, model: str, limit: int) -> None:
        self._client = client
        self._chat = chat
        self.model = model
        self.limit = limit
        self.address = str(client.base_url).rstrip("/")
        self.takes_ids = self.returns_ids = True

    @classmethod
    async def find(cls, address: str, key: str, model: str, chat: Chat) -> Server:
        """Look for the model at a server and see that it speaks the target's tokens.

        Raises:
            ValueError: one line: no answer, unknown model, other tokens.
        """
        client = AsyncOpenAI(base_url=address, api_key=key, max_retries=0, timeout=TIMEOUT)
        try:
            listed = {one.id: one for one in (await client.models.list()).data}
        except APIError as error:
            raise _one_line(error, address) from None
        name = model or next(iter(listed), "")
        if name not in listed:
            raise ValueError(f"{address} has no model {name!r}; allowed: {', '.join(listed)}")
        served = getattr(listed[name], "max_model_len", None)
        limit = min(n for n in (served, chat.limit, 1 << 30) if n)
        server = cls(client.with_options(max_retries=RETRIES), chat, name, limit)
        await server._check()
        return server

    async def aclose(self) -> None:
        await self._client.close()

    async def complete(self, prompt: Sequence[int], room: int, temperature: float) -> Completion:
        """At most ``room`` tokens after the prompt.

        Raises:
            ValueError: one line, when the server fails and goes on failing.
        """
        choice = await self._ask(prompt, room, temperature)
        finish, ids = str(choice.finish_reason), _ids(choice)
        if ids is None:
            ids = self._chat.answer_ids(choice.text, ended=finish == "stop")
            return Completion(ids[:room], finish, True)
        if finish == "stop" and self._chat.stop and ids[-1:] != self._stop_of(choice, ids):
            ids = [*ids, *self._stop_of(choice, ids)]
        return Completion(ids, finish, False)

    async def _ask(self, prompt: Sequence[int], room: int, temperature: float) -> Any:
        try:
            return await self._create(prompt, room, temperature)
        except APIError as error:
            raise _one_line(error, self.address) from None

    async def _create(self, prompt: Sequence[int], room: int, temperature: float) -> Any:
        reply = await self._client.completions.create(
            model=self.model,
            prompt=list(prompt) if self.takes_ids else self._chat.rendered(prompt),
            max_tokens=room,
            temperature=temperature,
            top_p=1.0,
            extra_body={**PLAIN, "stop_token_ids": self._chat.stop} if self.takes_ids else None,
        )
        return reply.choices[0]

    def _stop_of(self, choice: Any, ids: list[int]) -> list[int]:
        """The id that ended an answer, as a list: some servers leave it out of the answer's ids."""
        if ids[-1:] and ids[-1] in self._chat.stop:
            return ids[-1:]
        told = getattr(choice, "stop_reason", None) or getattr(choice, "matched_stop", None)
        return [told] if told in self._chat.stop else self._chat.stop[:1]

    async def _check(self) -> None:
        """Eight tokens tell whether ids are taken, come back, and are the target's."""
        probe = self._chat.prompt_ids("Name three colours.")
        try:
            choice = await self._create(probe, 8, 0.0)
        except APIError as error:
            if getattr(error, "status_code", 0) not in REFUSED:
                raise _one_line(error, self.address) from None
            self.takes_ids = False
            choice = await self._ask(probe, 8, 0.0)
        ids = _ids(choice)
        self.returns_ids = ids is not None
        if ids is not None and _plain(self._chat.text(ids)) != _plain(choice.text):
            raise ValueError(
                f"the tokens of {self.model} at {self.address} are not the target's:"
                f" {choice.text!r} reads {self._chat.text(ids)!r}; serve the target, or name it"
            )


def _ids(choice: Any) -> list[int] | None:
    ids = getattr(choice, "token_ids", None)
    return list(ids) if ids is not None else None


def _plain(text: str) -> str:
    """Words only: servers differ in spaces and in half a character at the end."""
    return "".join(text.replace("�", "").split())


def _one_line(error: APIError, address: str) -> ValueError:
    if isinstance(error, APIConnectionError):
        return ValueError(
            f"{address} does not answer; start a server of the target (vllm serve TARGET), or name"
            " it with --server; the same command goes on from here"
        )
    status = f" ({error.status_code})" if isinstance(error, APIStatusError) else ""
    reason = " ".join(error.message.split())[:300]
    hint = "its address ends in /v1" if status == " (404)" else "see its log"
    return ValueError(
        f"{address} refuses{status}: {reason}; {hint}; the same command goes on from here"
    )
