"""How often the draft names the target's next token, by lag, on sequences kept for tests."""

from __future__ import annotations

import torch

from .data import FeatureFolder
from .step import Distiller


@torch.inference_mode()
def held_out_accuracy(
    model: Distiller, data: FeatureFolder, max_lag: int, top: int = 4
) -> dict[str, float]:
    """``top1_lagJ`` and ``top4_lagJ``: the text's next token is the truth.

    Sequences with greedy answers, where the text's next token is that argmax; the trained tail of
    each prompt counts too.
    """
    sequences = sorted(data.held_out, key=lambda s: s.queries)
    batches = [data.collate(sequences[i : i + 8]) for i in range(0, len(sequences), 8)]
    hits = torch.zeros(max_lag, 2)
    seen = 0
    for batch in batches:
        following = batch.tokens.long().gather(1, batch.positions + 1)[batch.valid]
        inverse = torch.full((model.embedding.shape[0],), -1)
        inverse[model.vocabulary] = torch.arange(len(model.vocabulary))
        truth = inverse[following][:, None]
        seen += len(truth)
        for lag in range(1, max_lag + 1):
            with torch.autocast("cpu", torch.bfloat16):
                rows = model.rows(batch, torch.full_like(batch.positions, lag))[batch.valid]
                best = (rows.to(model.head.dtype) @ model.head.T).topk(top, dim=-1).indices
            hits[lag - 1, 0] += (best[:, :1] == truth).sum()
            hits[lag - 1, 1] += (best == truth).sum()
    share = (hits / max(seen, 1)).tolist()
    result = {f"top1_lag{lag + 1}": row[0] for lag, row in enumerate(share)}
    return result | {f"top{top}_lag{lag + 1}": row[1] for lag, row in enumerate(share)}
