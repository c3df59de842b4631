"""How often the draft names the target's next token, by lag, on sequences kept for tests."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .batches import Batch, cut, pack
from .data import FeatureFolder, Sequence
from .step import Distiller

PIECES = 8


@torch.no_grad()
def held_out_accuracy(
    model: Distiller, data: FeatureFolder, tests: Iterable[Sequence], max_lag: int, top: int = 4
) -> dict[str, float]:
    """``top1_lagJ`` and ``top4_lagJ``: the text's next token is the truth. Nothing without tests.

    Sequences with greedy answers, where the text's next token is the target's argmax; the trained
    tail of each prompt counts too.
    """
    pieces = cut((s for s in tests if s.queries > 0), 1024)
    if not pieces:
        return {}
    hits = torch.zeros(max_lag, 2)
    seen = 0
    for i in range(0, len(pieces), PIECES):
        batch = pack(data, pieces[i : i + PIECES], model.reach).to(model.head.device)
        seen += len(batch.positions)
        for lag in range(1, max_lag + 1):
            hits[lag - 1] += _hits(model, batch, lag, top)
    share = (hits / seen).tolist()
    result = {f"top1_lag{lag + 1}": row[0] for lag, row in enumerate(share)}
    return result | {f"top{top}_lag{lag + 1}": row[1] for lag, row in enumerate(share)}


def _hits(model: Distiller, batch: Batch, lag: int, top: int) -> torch.Tensor:
    """``[2]`` how often the truth is the first, and among the first ``top``."""
    truth = model.entries[batch.following]
    rows = model.rows(batch, torch.full_like(batch.positions, lag))
    hits = torch.zeros(2)
    for part, goal in zip(rows.split(256), truth.split(256), strict=True):
        found = (part @ model.head.T).topk(top, dim=-1).indices == goal[:, None]
        hits += torch.stack([found[:, 0].sum(), found.sum()]).cpu()
    return hits
