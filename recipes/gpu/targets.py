"""What the measurement is held against: each target, what was found, and whether it is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .plan import Plan

NODES = 16
"""The tree of which the targets of a cycle speak, in bfloat16 with one request."""
CYCLE = {512: 1.25, 32768: 1.20}
"""At most so many of stock vLLM's steps, by context."""
DRAFT_SHARE = 0.12
"""Drafting's part of a cycle, at any context."""
DRAFT_GROWTH = 0.03
"""Of drafting's own work, the target's KV aside, from the shortest context to the longest."""
EAGER, FLOOR, LONG = 4.0, 1.3, 16384
"""From ``LONG`` tokens on: so many times as fast as eager, so many times the memory floor."""
NONE = "not measured"
Found = Mapping[str, Any]
"""What the pieces have measured, by name."""


@dataclass(frozen=True)
class Check:
    """A target. ``met`` is None where there is no figure."""

    what: str
    wanted: str
    found: str = NONE
    met: bool | None = None


def checks(plan: Plan, found: Found) -> list[Check]:
    """All of them, in the order of the pieces."""
    return [
        _tests("kernels as plain torch", found.get("kernels")),
        _tests("float32: vanilla's tokens", found.get("identity")),
        _bf16(found.get("bf16")),
        *_attention(found.get("attention")),
        _growth(found.get("draft")),
        *_cycle(plan, found.get("cycle")),
    ]


def row(found: Found | None, arm: str, context: int, batch: int) -> dict[str, Any] | None:
    """An arm's measured row of a pair."""
    rows = ((found or {}).get("arms", {}).get(arm) or {"rows": []})["rows"]
    return next(
        (r for r in rows if (r["context"], r["batch"]) == (context, batch) and "ms" in r), None
    )


def break_even(found: Found | None, context: int, batch: int) -> float | None:
    """A cycle over vanilla's step: the AL from which on LongSpec is faster; speedup = AL / this."""
    vanilla, ours = (row(found, arm, context, batch) for arm in ("vanilla", "longspec"))
    return ours["ms"] / vanilla["ms"] if vanilla and ours else None


def draft_share(measured: Mapping[str, Any]) -> float | None:
    """Drafting's part of a traced cycle."""
    parts = measured.get("parts", {})
    whole = parts.get("cycle_ms", measured["ms"])
    return parts["draft_ms"] / whole if "draft_ms" in parts else None


def _tests(what: str, found: Found | None) -> Check:
    wanted = "all tests pass"
    if not found or not found["passed"] + found["failed"]:
        return Check(what, wanted, "none ran" if found else NONE)
    told = f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped"
    return Check(what, wanted, told, not found["failed"])


def _bf16(found: Found | None) -> Check:
    what, wanted = "bfloat16, graphs: answers part", "by rounding alone"
    if not found or not found["arms"]:
        return Check(what, wanted)
    wanted = f"margins up to {found['noise_nats']} nats"
    ways = [way for arm in found["arms"].values() for way in arm.values()]
    same, of = (sum(way[key] for way in ways) for key in ("same", "of"))
    parted = [each["margin"] for way in ways for each in way["parted"]]
    most = max((m for m in parted if m is not None), default=0.0)
    bad = sum(len(way["faults"]) for way in ways)
    told = f"{same} of {of} the same; margins up to {most:.3f}, {bad} faults"
    if min(found["AL"].values()) <= 1:  # nothing was accepted, so trees could not be wrong
        return Check(what, wanted, f"{told}; no draft was accepted", False if bad else None)
    return Check(what, wanted, told, not bad)


def _attention(found: Found | None) -> list[Check]:
    far = f"from {LONG:,} tokens on"
    faster = f"hybrid attention {far}: faster than eager with a mask"
    floor = f"hybrid attention {far}: over the memory floor"
    wanted = f"at least {EAGER:g} times", f"at most {FLOOR:g} times"
    records = [r for r in (found or {}).get("records", []) if r["context"] >= LONG]
    if not records:
        return [Check(faster, wanted[0]), Check(floor, wanted[1])]
    least = min(r["ratio"] for r in records if r["name"] == "eager, masked")
    most = max(1 / r["of_copy"] for r in records if r["name"] == "hybrid")
    return [
        Check(faster, wanted[0], f"{least:.2f} times", least >= EAGER),
        Check(floor, wanted[1], f"{most:.2f} times", most <= FLOOR),
    ]


def _growth(found: Found | None) -> Check:
    results = (found or {}).get("results", [])
    what, wanted = "drafting's own work is flat", f"within {DRAFT_GROWTH:.0%}"
    if len(results) < 2:
        return Check(what, wanted)
    first, most = results[0]["own"], max(results, key=lambda r: abs(r["own"] - results[0]["own"]))
    grown = most["own"] / first - 1
    told = f"{grown:+.1%} from {results[0]['context']:,} to {most['context']:,} tokens"
    return Check(what, wanted, told, abs(grown) <= DRAFT_GROWTH)


def _cycle(plan: Plan, found: Found | None) -> list[Check]:
    made = []
    for context, limit in CYCLE.items():
        what = f"a cycle of one request at {context:,} tokens, {NODES} nodes"
        ratio = break_even(found, context, 1) if plan.nodes == NODES else None
        check = Check(what, f"at most {limit:.2f} steps of vLLM's")
        if ratio is not None:
            check = Check(what, check.wanted, f"{ratio:.3f}", ratio <= limit)
        made.append(check)
    rows = [row(found, "longspec", context, 1) for context in plan.contexts]
    shares = [share for each in rows if each and (share := draft_share(each)) is not None]
    what, wanted = "drafting's part of a cycle of one request", f"at most {DRAFT_SHARE:.0%}"
    if not shares:
        return [*made, Check(what, wanted)]
    told = f"{min(shares):.1%} to {max(shares):.1%}"
    return [*made, Check(what, wanted, told, max(shares) <= DRAFT_SHARE)]
