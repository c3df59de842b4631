"""The rows of ``results.json`` as lines of the table and of the graph: PoE has one per gamma."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .results import Row
from .stats import TimeStats


@dataclass(frozen=True)
class Line:
    """One method with one gamma; None where there is no such number.

    Attributes:
        row: the row's name; ``label`` has the gamma behind it.
        ttft: of the first token.
        token_ms: of every further one, measured step by step, or ``(call - TTFT) / (tokens - 1)``.
        call_ms: median of a whole call; ``call_once`` if it is of one call alone.
        user_tps: user-visible tokens per second of a whole call.
        speedup: ``user_tps`` over baseline's; over that of the mean of its calls before and after
            the row, where it was timed again.
        block_ms, ceiling_tps: see :class:`.results.Gamma`.
        effective_tps, resample_rate, acceptance_length: as the row has them.
    """

    row: str
    label: str
    ttft: TimeStats | None = None
    token_ms: float | None = None
    call_ms: float | None = None
    call_once: bool = False
    user_tps: float | None = None
    speedup: float | None = None
    block_ms: float | None = None
    ceiling_tps: float | None = None
    effective_tps: float | None = None
    resample_rate: float | None = None
    acceptance_length: float | None = None


def lines(rows: Mapping[str, Row]) -> list[Line]:
    """All lines, in the order of the rows."""
    before = _tps(rows.get("baseline", {}).get("call"))
    found: list[Line] = []
    for name, row in rows.items():
        after = _tps(row.get("beside"))
        # as long as the mean of both calls: what drifts in between slows the row as much
        base = 2 / (1 / before + 1 / after) if before and after else before
        found += _of_row(name, row, base)
        before = after or before
    return found


def once(times: Mapping[str, Any]) -> bool:
    """Whether its median is that of one call."""
    return len(times["raw_ms"]) == 1


def _tps(call: Mapping[str, Any] | None) -> float | None:
    return call["user_tps"] if call else None


def _of_row(name: str, row: Row, base: float | None) -> Iterator[Line]:
    ttft = row.get("ttft")
    if not row.get("per_gamma"):
        decode, call = row.get("decode"), row.get("call")
        token_ms = decode["mean_ms"] if decode else _token_ms(call, ttft)
        yield Line(name, name, ttft, token_ms=token_ms, **_whole(call, base))
    for gamma, found in row.get("per_gamma", {}).items():
        told = found.get("acceptance")
        yield Line(
            name,
            f"{name} γ={gamma}",
            ttft,
            token_ms=_token_ms(told, ttft),
            block_ms=found.get("block_ms"),
            ceiling_tps=found.get("ceiling_tps"),
            effective_tps=told["effective_tps"] if told else None,
            resample_rate=told["resample_rate"] if told else None,
            **{
                **_whole(told, base),
                "call_ms": found["latency"]["median_ms"],
                "call_once": once(found["latency"]),
            },
        )


def _whole(call: Mapping[str, Any] | None, base: float | None) -> dict[str, Any]:
    if call is None:
        return {}
    return {
        "call_ms": call["median_ms"],
        "call_once": once(call),
        "user_tps": call["user_tps"],
        "speedup": call["user_tps"] / base if base else None,
        "acceptance_length": call.get("acceptance_length"),
    }


def _token_ms(call: Mapping[str, Any] | None, ttft: TimeStats | None) -> float | None:
    """``(call - TTFT) / (tokens - 1)``: the first token comes with the prefill."""
    if call is None or ttft is None or call["output_tokens_per_call"] <= 1:
        return None
    left = call["median_ms"] - ttft["median_ms"]
    return left / (call["output_tokens_per_call"] - 1) if left > 0 else None
