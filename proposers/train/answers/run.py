"""Let the target answer prompts, and keep the tokens: what a draft of it learns from.

    vllm serve MODEL --port 8000
    python -m proposers.train answers --target MODEL

Prompts come from the shipped generator and, for a share, from the target itself; or from JSONL
files. Any OpenAI-compatible server of the target answers them, or, with `--server offline`, our own
engine in this process. Each answer is appended to
DATA/answers/answers.jsonl at once: stop the command whenever you like, the same one goes on.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING

from ..command import run_command
from ..prompts.overlap import held_out_ngrams
from .filters import Gate
from .settings import OFFLINE, AnswersSettings
from .source import Prompt, composed, given
from .store import Journal

if TYPE_CHECKING:
    from .chat import Chat
    from .work import Model


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(AnswersSettings, work, argv, __doc__)


def work(settings: AnswersSettings) -> None:
    """Answer prompts until there are enough."""
    asyncio.run(_work(settings))


async def _work(settings: AnswersSettings) -> None:
    from .chat import Chat, identity  # late: these need libraries that take seconds to load
    from .client import Server

    gate, prompts = Gate(held_out_ngrams(settings.held_out)), given(settings.prompts)
    chat = Chat(settings.target)
    if prompts or not chat.templated:  # without a template no user's turn can be asked for
        settings = settings.model_copy(update={"self_written": 0.0})
    until = time.monotonic() + 60 * (settings.minutes or math.inf)
    found: Model
    if settings.server == OFFLINE:
        from .engine import Engine

        found = Engine.load(settings.target, chat, settings.device, until)
    else:
        found = await Server.find(settings.server, settings.api_key, settings.model, chat)
    async with aclosing(found) as server:
        name = identity(settings.target, settings.target_name, server.model)
        with closing(Journal(settings.place(settings.out, "answers"), name, gate.seen)) as journal:
            await _fill(settings, chat, server, journal, gate, prompts, until)


async def _fill(
    settings: AnswersSettings,
    chat: Chat,
    server: Model,
    journal: Journal,
    gate: Gate,
    prompts: list[Prompt],
    until: float,
) -> None:
    """Answer what the journal lacks; with ``prompts`` only those, else composed ones."""
    from .show import Display, print_sums
    from .work import Answering

    todo = [prompt for prompt in prompts if prompt.id not in journal.ids]
    before = journal.sequences.total()

    def part() -> float:
        if not prompts:
            return journal.tokens.total() / settings.tokens
        over = journal.sequences.total() - before + gate.refused.total()
        return 1 - (len(todo) - over) / len(prompts)

    source_of = iter(todo) if prompts else composed(settings.seed, settings.categories, journal.ids)
    with Display(journal, part) as display:
        display.console.print(_plan(settings, server, journal, prompts), soft_wrap=True)
        given = (settings, chat, server, journal, gate, source_of, display.update, until)
        answering = Answering(*given)
        await answering.run()
    print_sums(journal, gate.refused)


def _plan(settings: AnswersSettings, server: Model, journal: Journal, prompts: list[Prompt]) -> str:
    """What the run will do, in a line; another if the server keeps its tokens to itself."""
    what = (
        f"{len(prompts):,} prompts of {', '.join(map(str, settings.prompts))}"
        if prompts
        else f"{settings.tokens:,} tokens, composed prompts and"
        f" {settings.self_written:.0%} self-written ones"
    )
    there = f"{journal.sequences.total():,} answers, {journal.tokens.total():,} tokens are there"
    line = f"answers: {what}, answered by {server.model} into {journal.path}; {there}"
    if server.returns_ids:
        return line
    return (
        f"{line}\nthe server gives no token ids: its text is tokenised again here, which may"
        " differ from what it sampled"
    )
