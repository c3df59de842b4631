"""What pieces would have measured on a machine with a GPU: made-up figures."""

from __future__ import annotations

from typing import Any

from recipes.gpu.plan import Plan


def row(context: int, batch: int, ms: float, draft: float | None = None) -> dict[str, Any]:
    parts = {} if draft is None else {"cycle_ms": ms, "draft_ms": draft, "forward_ms": ms / 2}
    return {"context": context, "batch": batch, "ms": ms, "parts": parts}


def cycle(first: float = 1.25, last: float = 1.2, share: float = 0.116) -> dict[str, Any]:
    """Vanilla's steps are of 10 ms; cycles so many of them at 512 and at 32,768 tokens."""
    ours = [row(512, 1, 10 * first, 10 * first * share), row(32768, 1, 10 * last, 10 * last * 0.1)]
    arms = {
        "vanilla": {"settings": {}, "rows": [row(512, 1, 10.0), row(32768, 1, 10.0)]},
        "longspec": {"settings": {"graphs": "FULL", "captured": [17]}, "rows": ours},
    }
    return {"card_gib": 79.6, "no_room": [[32768, 32]], "arms": arms}


def attention(ratio: float = 4.0, of_copy: float = 1 / 1.3) -> dict[str, Any]:
    """At 8k tokens nothing is wanted."""
    records = []
    for context, worse in ((8192, 0.5), (16384, 1.0)):
        eager = {"context": context, "name": "eager, masked", "ratio": ratio * worse, "ms": 4.0}
        hybrid = {"context": context, "name": "hybrid", "of_copy": of_copy * worse, "ms": 1.0}
        records += [eager, hybrid, {"context": context, "name": "SDPA, masked", "ms": 2.0}]
    return {"gpu": True, "records": records}


def draft(grown: float = 1.0299) -> dict[str, Any]:
    pairs = ((512, 2.0), (8192, 2.01), (32768, 2 * grown))
    return {"results": [{"context": context, "own": own} for context, own in pairs]}


def bf16(margin: float | None = 0.4, length: float = 2.31) -> dict[str, Any]:
    part = {"prompt": 3, "token": 7, "margin": margin}
    bad = [] if margin is not None and margin <= 0.5 else [part]
    way = {"same": 23, "of": 24, "parted": [part]}
    same = {"same": 24, "of": 24, "parted": [], "faults": []}
    return {
        "noise_nats": 0.5,
        "AL": {"tree": length},
        "control": way,
        "arms": {"tree": {"alone": {**way, "faults": bad}, "together": same}},
    }


def counts(failed: int = 0) -> dict[str, Any]:
    return {"passed": 9, "failed": failed, "skipped": 1, "names": ["x"] * failed}


def everything() -> dict[str, Any]:
    """All targets met, by little."""
    proofs = {"kernels": counts(), "identity": counts(), "bf16": bf16()}
    return proofs | {"attention": attention(), "draft": draft(), "cycle": cycle()}


PLAN = Plan()
