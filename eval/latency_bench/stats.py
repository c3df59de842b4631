"""What the numbers of the benchmark mean: pure functions from timings to statistics.

Times are milliseconds; a mean is over the measured calls, never over estimate or warm-up calls.
Results are plain dictionaries, as results.json holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any, Protocol, TypedDict

import numpy as np

from ..numbers.metrics import acceptance_length, acceptance_rate
from .harness import Timings


class TimeStats(TypedDict):
    """Of one call.

    ``raw_ms``: every measured call, in order. ``filtered_ms``: those within 1.5 inter-quartile
    ranges of the quartiles. ``median_ms``, ``p20``, ``p80``: median, 20th and 80th percentile of
    ``filtered_ms``, in ms, linear between neighbours. ``n_calls``: estimate, warm-up and measured
    calls together.
    """

    median_ms: float
    p20: float
    p80: float
    n_calls: int
    raw_ms: list[float]
    filtered_ms: list[float]


class PositionStats(TimeStats):
    """Of the step at one position: ``position`` tokens were generated before, and ``context``
    tokens, the prompt's with them, are in the cache; ``tps`` is ``1000 / median_ms``."""

    position: int
    context: int
    tps: float


class DecodeStats(TypedDict):
    """``per_position``; ``mean_ms``: mean of their medians; ``tps``: ``1000 / mean_ms``."""

    mean_ms: float
    tps: float
    per_position: list[PositionStats]


class CallStats(TimeStats):
    """Of a whole call, prefill included.

    ``output_tokens_per_call``: mean tokens a call returns. ``user_tps``: user-visible tokens per
    second, ``1000 * output_tokens_per_call / median_ms``.
    """

    output_tokens_per_call: float
    user_tps: float


class PoeStats(CallStats):
    """Of a whole PoE call; an output token is an accepted draft, a resampled or a bonus one.

    ``avg_accepted_tokens_per_call``: mean over calls of output tokens less resampled ones (the
    original rule has no bonus tokens; where there are some, they count in here and are told apart
    by ``avg_bonus_tokens_per_call``). ``resample_rate``: resampled tokens of all calls over their
    output tokens. ``effective_tps``: ``1000 * avg_accepted_tokens_per_call / median_ms``, so that
    ``user_tps = effective_tps / (1 - resample_rate)``. ``acceptance_rate``: accepted over drafted
    tokens of all calls. ``avg_steps_per_call``: mean verified blocks.
    """

    avg_accepted_tokens_per_call: float
    avg_bonus_tokens_per_call: float
    avg_steps_per_call: float
    resample_rate: float
    acceptance_rate: float | None
    effective_tps: float


class GlideStats(CallStats):
    """Of a whole GLIDE call: ``acceptance_length`` is ``1 + accepted / steps`` of all calls."""

    avg_steps_per_call: float
    acceptance_length: float | None


class PoeCall(Protocol):
    """What a PoE call returned; ``proposers.hydra.PoEOutput`` is one."""

    tokens: list[int]
    resampled: int
    accepted: int
    bonus: int
    drafted: int
    steps: int


class GlideCall(Protocol):
    """What a GLIDE call returned: numbers of tokens, accepted drafts and target forwards."""

    @property
    def tokens(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def steps(self) -> int: ...


def time_stats(timings: Timings[Any]) -> TimeStats:
    """Statistics of one call's time."""
    low, high = np.percentile(timings.filtered_ms, (20, 80))
    return {
        "median_ms": median(timings.filtered_ms),
        "p20": float(low),
        "p80": float(high),
        "n_calls": timings.n_calls,
        "raw_ms": timings.raw_ms,
        "filtered_ms": timings.filtered_ms,
    }


def position_stats(position: int, context: int, timings: Timings[Any]) -> PositionStats:
    """Statistics of one step."""
    times = time_stats(timings)
    return {
        "position": position,
        "context": context,
        "tps": 1e3 / times["median_ms"],
        **times,
    }


def decode_stats(per_position: Sequence[PositionStats]) -> DecodeStats:
    """Statistics of decoding, from those of its positions."""
    mean = fmean(found["median_ms"] for found in per_position)
    return {"mean_ms": mean, "tps": 1e3 / mean, "per_position": list(per_position)}


def call_stats(timings: Timings[Any], tokens: Iterable[int]) -> CallStats:
    """Statistics of whole calls that returned so many tokens each."""
    times, mean = time_stats(timings), fmean(tokens)
    return {
        **times,
        "output_tokens_per_call": mean,
        "user_tps": 1e3 * mean / times["median_ms"],
    }


def poe_stats(timings: Timings[PoeCall]) -> PoeStats:
    """Statistics of whole PoE calls."""
    calls = timings.outputs
    found = call_stats(timings, (len(call.tokens) for call in calls))
    tokens, resampled = sum(len(c.tokens) for c in calls), sum(c.resampled for c in calls)
    accepted = (tokens - resampled) / len(calls)
    return {
        **found,
        "avg_accepted_tokens_per_call": accepted,
        "avg_bonus_tokens_per_call": fmean(call.bonus for call in calls),
        "avg_steps_per_call": fmean(call.steps for call in calls),
        "resample_rate": resampled / tokens,
        "acceptance_rate": acceptance_rate(
            sum(call.drafted for call in calls), sum(call.accepted for call in calls)
        ),
        "effective_tps": 1e3 * accepted / found["median_ms"],
    }


def glide_stats(timings: Timings[GlideCall]) -> GlideStats:
    """Statistics of whole GLIDE calls."""
    calls = timings.outputs
    steps, accepted = sum(call.steps for call in calls), sum(call.accepted for call in calls)
    return {
        **call_stats(timings, (call.tokens for call in calls)),
        "avg_steps_per_call": steps / len(calls),
        "acceptance_length": acceptance_length(steps, accepted),
    }


def block_ms(call_ms: float, ttft_ms: float, steps: float) -> float | None:
    """``(call - TTFT) / steps``: what drafting and verifying one block takes, whatever is accepted.

    None where noise leaves nothing, as for a call of a token or two.
    """
    left = call_ms - ttft_ms
    return left / steps if steps and left > 0 else None


def ceiling_tps(gamma: int, bonus: bool, block: float) -> float:
    """Tokens per second of decoding if every drafted token were accepted."""
    return 1e3 * (gamma + bonus) / block
