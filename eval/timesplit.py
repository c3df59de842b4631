"""Where a cycle's time goes, out of the trace that longspec arms write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("verify_ms", "draft_ms", "engine_ms")  # their sum is cycle_ms
FIELDS = (*PARTS, "forward_ms", "accept_ms", "cycle_ms", "rows", "nodes")


def read_cycles(path: Path, start: int = 0) -> list[dict[str, float]]:
    """Cycles written after byte ``start``; an unfinished last line is left out."""
    if not path.is_file():
        return []
    cycles = []
    for line in path.read_bytes()[start:].decode("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("event") == "cycle":
            cycles.append({name: float(row.get(name, 0.0)) for name in FIELDS})
    return cycles


def time_split(cycles: list[dict[str, float]]) -> dict[str, Any] | None:
    """Means per cycle, and the share of each part in the sum of all cycles.

    verify: the step up to the logits (forward: the target's layers within it); draft: drafting
    and accepting, all that the method adds; engine: the rest.
    """
    if not cycles:
        return None
    mean = {name: float(np.mean([cycle[name] for cycle in cycles])) for name in FIELDS}
    whole = sum(mean[name] for name in PARTS)
    shares = {name.removesuffix("_ms"): mean[name] / whole for name in PARTS} if whole else {}
    return {"cycles": len(cycles), "mean": mean, "share": shares}
