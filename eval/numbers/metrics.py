"""The numbers, as pure functions; each docstring gives the formula."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..records.counters import trim


def ratio(above: float, below: float) -> float | None:
    """``above / below``, None where there is nothing to divide by."""
    return above / below if below else None


def acceptance_length(steps: int, accepted: int) -> float | None:
    """``1 + accepted / steps``: tokens per verify step, the bonus token included."""
    return 1 + accepted / steps if steps else None


def macro_acceptance_length(requests: Sequence[tuple[int, int]]) -> float | None:
    """Mean over requests of ``1 + accepted / steps``, of those ``(steps, accepted)`` with steps."""
    lengths = [1 + accepted / steps for steps, accepted in requests if steps]
    return float(np.mean(lengths)) if lengths else None


def effective_acceptance_length(requests: Sequence[tuple[int, int, int]]) -> float | None:
    """``sum(completion - 1) / sum(decode steps)`` over ``(completion, steps, accepted)``.

    The first token of a request comes from its prefill. A verify step yields 1 + accepted
    tokens, a step without a draft one, so there were ``completion - 1 - (steps + accepted)``
    of the latter (none, where the last step ran past the end of the answer).
    """
    tokens = sum(max(completion - 1, 0) for completion, _, _ in requests)
    return ratio(tokens, sum(decode_steps(*request) for request in requests))


def decode_steps(completion: int, steps: int, accepted: int) -> int:
    """``steps + max(completion - 1 - steps - accepted, 0)``: verify steps and undrafted ones."""
    return steps + max(completion - 1 - steps - accepted, 0)


def acceptance_rate(drafted: int | None, accepted: int | None) -> float | None:
    """``accepted / drafted``; with a tree, drafted counts all nodes but the root."""
    return None if accepted is None or drafted is None else ratio(accepted, drafted)


def path_acceptance_rate(steps: int, accepted: int | None, depth: int | None) -> float | None:
    """``accepted / (steps x depth)``: the share of the longest possible path."""
    return None if accepted is None or depth is None else ratio(accepted, steps * depth)


def gap(values: Sequence[float]) -> float | None:
    """``(largest - smallest) / smallest``, None for less than two values."""
    return ratio(max(values) - min(values), min(values)) if len(values) > 1 else None


def step_lengths(step_accepted: Sequence[int]) -> list[int]:
    """Tokens generated before each verify step: ``1 + sum(1 + accepted)`` of the steps before it.

    The first token comes from the prefill. Exact where no step went without a draft.
    """
    before = accumulate((1 + accepted for accepted in step_accepted), initial=1)
    return [length for length, _ in zip(before, step_accepted, strict=False)]


def by_length(
    steps: Iterable[tuple[int, int]], first_edge: int
) -> list[tuple[int, int, int, float | None]]:
    """``(low, high, steps, AL)`` of ``(length, accepted)`` steps; edges double from ``first_edge``.

    AL is pooled: ``1 + accepted / steps`` of the steps with ``low <= length < high``.
    """
    bins: dict[int, list[int]] = {}
    for length, accepted in steps:
        bins.setdefault((length // first_edge).bit_length(), []).append(accepted)
    return [
        (
            first_edge << (i - 1) if i else 0,
            first_edge << i,
            len(found),
            acceptance_length(len(found), sum(found)),
        )
        for i, found in sorted(bins.items())
    ]


def joint_per_position(per_position: Sequence[int], steps: int) -> list[float]:
    """``p_i = per_pos[i] / steps``: P(at least i accepted)."""
    return [count / steps for count in trim(per_position)] if steps else []


def conditional_per_position(per_position: Sequence[int], steps: int) -> list[float]:
    """``per_pos[i] / per_pos[i-1]`` with ``per_pos[0] := steps``: P(i-th | all before it)."""
    counts = trim(per_position)
    if not steps:
        return []
    return [now / before for now, before in zip(counts, [steps, *counts], strict=False) if before]


PERCENTILES = (50, 90, 95, 99)
FEWEST = 5  # prompts that a bootstrap interval needs


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean, p50, p90, p95 and p99, linear between neighbours, of the values that are there."""
    there = [value for value in values if value is not None]
    if not there:
        return {"mean": None, **{f"p{q}": None for q in PERCENTILES}}
    points = {f"p{q}": float(np.percentile(there, q)) for q in PERCENTILES}
    return {"mean": float(np.mean(there)), **points}


def merged(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The union of ``(start, end)`` as intervals that do not touch, in order."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def busy_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of ``(start, end)``: the time with a request in flight."""
    return sum(end - start for start, end in merged(intervals))


def meets(limits: Mapping[str, float], times: Mapping[str, float | None]) -> bool:
    """Whether every time (ttft, tpot, latency; ms) that has a limit is there and within it.

    TPOT does not exist for a single token, which meets any limit of it.
    """

    def within(name: str, limit: float) -> bool:
        value = times.get(name)
        return name == "tpot" if value is None else value <= limit

    return all(within(name, limit) for name, limit in limits.items())


def step_ms(decode_ms: Sequence[float], steps: Sequence[int]) -> float | None:
    """``sum(latency - TTFT) / sum(decode steps)`` over requests: a step as clients see it."""
    return ratio(sum(decode_ms), sum(steps))


def tpot_ms(latency_ms: float, ttft_ms: float | None, tokens: int) -> float | None:
    """``(latency - TTFT) / (tokens - 1)``: decode time of a token after the first."""
    if ttft_ms is None or tokens < 2:
        return None
    return (latency_ms - ttft_ms) / (tokens - 1)


def paired_speedup(
    base: Sequence[float], arm: Sequence[float], seed: int = 0
) -> dict[str, float | None]:
    """``exp(mean(log(base_i / arm_i)))`` over prompts i, with a 95% percentile bootstrap interval.

    The geometric mean, since an arithmetic mean of ratios favours whichever side varies more.
    Below five prompts there is no interval: a bootstrap of so few says nothing.
    """
    from scipy import stats  # here, since it is slow to import

    logs = [math.log(b / a) for b, a in zip(base, arm, strict=True)]
    if not logs:
        return {"mean": None, "low": None, "high": None}
    mean = math.exp(float(np.mean(logs)))
    if len(logs) < FEWEST:
        return {"mean": mean, "low": None, "high": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal ratios: the interval is a point
        interval = stats.bootstrap(
            (logs,), np.mean, method="percentile", n_resamples=5000, rng=seed
        ).confidence_interval
    return {"mean": mean, "low": math.exp(interval.low), "high": math.exp(interval.high)}


def first_difference(base: Sequence[Any], other: Sequence[Any]) -> int | None:
    """The first place at which two texts or lists differ, None if they are equal."""
    if base == other:
        return None
    pairs = enumerate(zip(base, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(base), len(other)))
