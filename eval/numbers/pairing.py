"""Speedup prompt by prompt: of an arm over vanilla, or of a run over another."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log
from statistics import mean

from ..records.requests import RequestRecord
from ..records.results import Speedup
from . import metrics


def speedup(base: Iterable[RequestRecord], other: Iterable[RequestRecord], of: str) -> Speedup:
    """Of ``other`` over ``base`` in a time per token that is averaged over rounds."""
    found = ratios(base, other, of)
    return Speedup(**metrics.paired_speedup(list(found.values()), [1.0] * len(found)))


def ratios(
    base: Iterable[RequestRecord], other: Iterable[RequestRecord], of: str
) -> dict[str, float]:
    """The speedup of each prompt that both answered, in the order of their ids.

    Turns of a prompt are averaged (geometric mean), as they are not independent.
    """
    mine, theirs = per_turn(other, of), per_turn(base, of)
    prompts: dict[str, list[float]] = {}
    for prompt, turn in mine.keys() & theirs.keys():
        ratio = theirs[(prompt, turn)] / mine[(prompt, turn)]
        prompts.setdefault(prompt, []).append(log(ratio))
    return {prompt: exp(mean(logs)) for prompt, logs in sorted(prompts.items())}


def per_turn(records: Iterable[RequestRecord], of: str) -> dict[tuple[str, int], float]:
    """The mean over rounds of a time per token, by prompt and turn."""
    times: dict[tuple[str, int], list[float]] = {}
    for record in records:
        if value := getattr(record, of):
            times.setdefault(record.key, []).append(value)
    return {key: mean(values) for key, values in times.items()}
