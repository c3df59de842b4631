"""What a scripted server answers, and each fault that it can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True)
class Answer:
    """What one prompt gets where it differs from the script; None leaves it as the script says."""

    words: list[str] | None = None
    steps: list[int] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True)
class Reply:
    """One request, with all that is told of it. ``steps``: accepted tokens of each verify step."""

    name: str
    words: list[str]
    steps: list[int] | None
    finish_reason: str
    prompt_tokens: int


@dataclass
class BaseScript:
    """The server's behaviour. A word is a token, of the answers as of the prompts.

    More accepted than drafted, or than the depth, need no field: give such steps. A vanilla server
    that speculates is one with steps. ``template=0`` is a server that applies no chat template.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    # Answers: ``answers`` goes by the last message; a callable may return None.
    words: list[str] = field(default_factory=lambda: ["one", " two", " three", " four", " five"])
    answers: dict[str, Answer] | Callable[[str], Answer | None] | None = None
    finish_reason: str = "stop"
    # Speculation: [j] = steps that accepted exactly j, or accepted of each step; both None: none.
    histogram: list[int] | None = field(default_factory=lambda: [0, 0, 1, 0])
    steps: list[int] | None = None
    nodes_per_step: int = 3
    depth: int | None = None  # num_speculative_tokens; None: as the histogram has it
    # Certainty: the log-probability of the top token less the second's, also by place.
    margin: float = 2.0
    margins: dict[int, float] = field(default_factory=dict)
    # Size, in tokens.
    max_model_len: int = 1000
    root: str | None = None  # where the server says that it loaded the model from
    prompt_tokens: int | None = None  # None: counted
    template: int = 4  # what the chat template adds to each message
    # Pace, in seconds.
    delay: float = 0.0  # before the first chunk
    chunk_delay: float = 0.0
    words_per_chunk: int = 1
    gate: int = 0  # the first answers wait until so many requests are in flight
    engines: int = 2  # data-parallel ones, each with labels and a part of the sums

    # Faults of requests, by the last message.
    fail: set[str] = field(default_factory=set)  # HTTP 500
    break_off: set[str] = field(default_factory=set)  # the connection, after the first chunk
    hang: set[str] = field(default_factory=set)
    # Faults of answers. Places count words from 0.
    repeat: int = 1  # the words so many times over: a loop
    swaps: dict[int, str] = field(default_factory=dict)  # other words than vanilla's
    unsteady: int | None = None  # the word that differs at every second time of asking
    usage_excess: int = 0  # completion tokens told beyond those sent
    no_usage: bool = False
    # Faults of counters.
    unpositioned: int = 0  # accepted tokens of each answer that no position has
    strangers: int = 0  # tokens per answer that another client seems to have generated
    stranger_steps: int = 0  # and its verify steps
    no_metrics: bool = False
    mute: bool = False  # answers tell nothing of speculation
    # Faults of the server, after so many requests.
    restart_after: int | None = None  # counters start anew
    hang_after: int | None = None  # nothing is answered, /health neither
    die_after: int | None = None  # connections break and are refused
    core_dies_after: int | None = None  # HTTP 500 and 503, the process stays

    # What has happened.
    core_dead: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    def reply(self, body: dict[str, Any]) -> Reply:
        """What a request gets, which it counts as asked."""
        prompt = body["messages"][-1]["content"]
        self.asked[prompt] += 1
        answer = self._answer(prompt)
        words = list((self.words if answer.words is None else answer.words) * self.repeat)
        for place, word in self.swaps.items():
            words[place] = word
        if self.unsteady is not None and self.asked[prompt] % 2 == 0:
            words[self.unsteady] += "?"
        steps = self._steps() if answer.steps is None else answer.steps
        reason = answer.finish_reason or self.finish_reason
        return Reply(f"chat-{self.asked.total()}", words, steps, reason, self.count_prompt(body))

    def _answer(self, prompt: str) -> Answer:
        if self.answers is None:
            return Answer()
        look_up = self.answers if callable(self.answers) else self.answers.get
        return look_up(prompt) or Answer()

    def _steps(self) -> list[int] | None:
        if self.steps is not None or self.histogram is None:
            return self.steps
        return [j for j, count in enumerate(self.histogram) for _ in range(count)]

    def as_histogram(self, steps: list[int]) -> list[int]:
        """Entry j: steps that accepted exactly j; as long as the depth asks, or the steps need."""
        depth = self.depth if self.depth is not None else len(self.histogram or [0]) - 1
        counts = Counter(steps)
        return [counts[j] for j in range(max(depth, *steps, 0) + 1)]

    def count_prompt(self, body: dict[str, Any]) -> int:
        """Tokens of ``messages``, with their template, or of a plain ``prompt``."""
        if "prompt" in body:
            return len(body["prompt"].split())
        if self.prompt_tokens is not None:
            return self.prompt_tokens
        words = sum(len(message["content"].split()) for message in body["messages"])
        return words + self.template * len(body["messages"])

    def add(self, name: str, count: int) -> None:
        self.totals[name] = self.totals.get(name, 0) + count

    # What an engine does in its own way.

    def count(self, reply: Reply) -> None:
        """Add an answer to the server's sums."""
        raise NotImplementedError

    def ends(
        self, body: dict[str, Any], reply: Reply, usage: dict[str, int] | None
    ) -> Iterator[dict[str, Any]]:
        """The chunks after the text: what they hold beside the usual."""
        raise NotImplementedError

    def exposition(self) -> str:
        """The text of ``/metrics``."""
        raise NotImplementedError
