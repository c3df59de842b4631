"""The numbers, as pure functions; each docstring gives the formula."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np


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
    decode = sum(
        steps + max(completion - 1 - steps - accepted, 0)
        for completion, steps, accepted in requests
    )
    return ratio(tokens, decode)


def acceptance_rate(drafted: int | None, accepted: int | None) -> float | None:
    """``accepted / drafted``; with a tree, drafted counts all nodes but the root."""
    return None if accepted is None or drafted is None else ratio(accepted, drafted)


def path_acceptance_rate(steps: int, accepted: int | None, depth: int | None) -> float | None:
    """``accepted / (steps x depth)``: the share of the longest possible path."""
    return None if accepted is None or depth is None else ratio(accepted, steps * depth)


def gap(values: Sequence[float]) -> float | None:
    """``(largest - smallest) / smallest``, None for less than two values."""
    return ratio(max(values) - min(values), min(values)) if len(values) > 1 else None


def trim(per_position: Sequence[int]) -> list[int]:
    """Drop trailing zeros: engines keep one entry per tree node, paths are shorter."""
    last = max((i for i, count in enumerate(per_position) if count), default=-1)
    return list(per_position[: last + 1])


def at_least(histogram: Sequence[int]) -> list[int]:
    """From ``histogram[j]`` = steps that accepted exactly j, [i] = steps with at least i + 1."""
    tail = np.cumsum(np.asarray(histogram[::-1], dtype=int))[::-1]
    return trim([int(count) for count in tail[1:]])


def add_positions(many: Sequence[Sequence[int]]) -> list[int]:
    """Sum position by position; shorter lists end in zeros."""
    return [sum(column) for column in zip_longest(*many, fillvalue=0)]


def joint_per_position(per_position: Sequence[int], steps: int) -> list[float]:
    """``p_i = per_pos[i] / steps``: P(at least i accepted)."""
    return [count / steps for count in trim(per_position)] if steps else []


def conditional_per_position(per_position: Sequence[int], steps: int) -> list[float]:
    """``per_pos[i] / per_pos[i-1]`` with ``per_pos[0] := steps``: P(i-th | all before it)."""
    counts = trim(per_position)
    if not steps:
        return []
    return [now / before for now, before in zip(counts, [steps, *counts], strict=False) if before]


def percentiles(values: Sequence[float | None]) -> dict[str, float | None]:
    """p50 and p95, linear between neighbours, of the values that are there."""
    there = [value for value in values if value is not None]
    if not there:
        return {"p50": None, "p95": None}
    return {f"p{q}": float(np.percentile(there, q)) for q in (50, 95)}


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
    """
    from scipy import stats  # here, since it is slow to import

    logs = [math.log(b / a) for b, a in zip(base, arm, strict=True)]
    if not logs:
        return {"mean": None, "low": None, "high": None}
    mean = math.exp(float(np.mean(logs)))
    if len(logs) < 2:
        return {"mean": mean, "low": None, "high": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal ratios: the interval is a point
        interval = stats.bootstrap(
            (logs,), np.mean, method="percentile", n_resamples=5000, rng=seed
        ).confidence_interval
    return {"mean": mean, "low": math.exp(interval.low), "high": math.exp(interval.high)}


def identical(base: Sequence[str], arm: Sequence[str]) -> int:
    """How many outputs are equal, character by character."""
    return sum(a == b for a, b in zip(base, arm, strict=True))
