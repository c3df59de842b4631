"""Which arms, records and answers the HTML report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..numbers.metrics import acceptance_length, first_difference
from ..records.requests import RequestRecord, same_answer
from ..records.results import ArmResult, Results
from .palette import VANILLA

MOST_ARMS = 6  # in a plot; more conditions than that are left to the tables
MOST_PROMPTS = 60
MOST_CHARACTERS = 400_000  # of all answers together, so that the file stays small
MOST_OF_ONE = 6_000


@dataclass(frozen=True)
class Answer:
    """An arm's answer: ``same`` up to where it leaves vanilla's, ``rest`` after that."""

    label: str
    told: str
    same: str
    rest: str
    cut: bool
    identical: bool


@dataclass(frozen=True)
class Prompt:
    """All arms' answers to a turn of a prompt; ``differing`` arms left vanilla's answer."""

    prompt_id: str
    turn: int
    category: str
    answers: list[Answer]

    @property
    def differing(self) -> int:
        return sum(bool(answer.rest) and not answer.identical for answer in self.answers)


def plotted(results: Results) -> list[ArmResult]:
    """All arms, or those of the first condition where there are too many."""
    if len(results.arms) <= MOST_ARMS:
        return list(results.arms)
    first = min((arm.temperature, arm.concurrency) for arm in results.arms)
    return [arm for arm in results.arms if (arm.temperature, arm.concurrency) == first]


def by_label(
    arms: Sequence[ArmResult], records: Sequence[RequestRecord]
) -> dict[str, list[RequestRecord]]:
    """The records of each arm under its condition."""
    labels = {(arm.name, arm.concurrency, arm.temperature): arm.label for arm in arms}
    found: dict[str, list[RequestRecord]] = {arm.label: [] for arm in arms}
    for record in records:
        label = labels.get((record.arm, record.concurrency, record.temperature))
        if label is not None:
            found[label].append(record)
    return found


def prompts(
    arms: Sequence[ArmResult], records: Mapping[str, Sequence[RequestRecord]]
) -> tuple[list[Prompt], int]:
    """Answers of the first round to an even choice of prompts, and how many prompts there are."""
    answers: dict[tuple[str, int], dict[str, RequestRecord]] = {}
    for arm in arms:
        for record in records[arm.label]:
            answers.setdefault(record.key, {}).setdefault(arm.label, record)
    keys = _evenly(list(answers))
    most = min(MOST_OF_ONE, MOST_CHARACTERS // max(1, len(keys) * len(arms)))
    return [_prompt(key, answers[key], arms, most) for key in keys], len(answers)


def _evenly(keys: list[tuple[str, int]]) -> list[tuple[str, int]]:
    count = min(len(keys), MOST_PROMPTS)
    return [keys[index * len(keys) // count] for index in range(count)]


def _prompt(
    key: tuple[str, int], told: dict[str, RequestRecord], arms: Sequence[ArmResult], most: int
) -> Prompt:
    shown = []
    for arm in arms:
        if arm.label in told:
            base = None if arm.name == VANILLA else _vanilla(arm, arms, told)
            shown.append(_answer(arm.label, told[arm.label], base, most))
    first = next(iter(told.values()))
    return Prompt(key[0], key[1], first.category, shown)


def _vanilla(
    arm: ArmResult, arms: Sequence[ArmResult], told: dict[str, RequestRecord]
) -> RequestRecord | None:
    """Vanilla's answer under the same condition."""
    for other in arms:
        same = (other.concurrency, other.temperature) == (arm.concurrency, arm.temperature)
        if other.name == VANILLA and same:
            return told.get(other.label)
    return None


def _answer(label: str, record: RequestRecord, base: RequestRecord | None, most: int) -> Answer:
    text = record.error or record.whole
    sound = base is not None and not base.error and not record.error
    where = first_difference(base.whole, text) if base is not None and sound else None
    split = len(text) if where is None else where
    shown = text[:most]
    return Answer(
        label=label,
        told=_told(record),
        same=shown[:split],
        rest=shown[split:],
        cut=len(text) > most,
        identical=sound and base is not None and same_answer(base, record) is True,
    )


def _told(record: RequestRecord) -> str:
    """What the request did, in a few words."""
    if record.error:
        return "failed"
    parts = [f"{record.completion_tokens} tokens"]
    if record.latency_ms is not None:
        parts.append(f"{record.latency_ms / 1000:.2f} s")
    if record.steps and record.accepted is not None:
        parts.append(f"AL {acceptance_length(record.steps, record.accepted):.2f}")
    return ", ".join(parts)
