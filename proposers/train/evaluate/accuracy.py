"""How often the target's next token is among the draft's best k, by lag and category.

A draft step of depth d reads a target whose keys and state end d tokens before it: lag d (the
paper's section 3.2). All positions of an answer are asked at once, each on the true text, with the
packed weights that serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...attention import masked_attention
from ...base import TargetModel
from ...glide.checkpoint import load_glide
from ...glide.model import GlideDraft
from .journal import Journal
from .sequences import Answer
from .ways import COUNTING, fingerprint

TOPS = (1, 4, 8)
CHUNK = 512
"""Positions asked at once."""

Shares = dict[str, list[float]]
"""``top-1``, ...: share of positions at lag 1, 2, ..."""


@dataclass(frozen=True)
class Accuracy:
    """Of all answers (pooled) and of those of each category.

    Attributes:
        loss: at lag 1, 2, ...: mean ``-log p`` of the target's token, in nats, of those tokens
            that the draft's vocabulary holds.
        coverage: share of tokens that it holds.
    """

    all: Shares
    by_category: dict[str, Shares]
    loss: list[float]
    coverage: float


def measure(
    folder: Path,
    answers: Sequence[Answer],
    target: TargetModel,
    lags: int,
    journal: Journal,
    advance: Callable[[int], None],
) -> Accuracy:
    """Of the draft in ``folder``; ``advance`` is told of answer tokens that are done."""
    draft_key = fingerprint(folder)
    draft: GlideDraft | None = None
    groups: dict[str, list[Tensor]] = {}
    for answer in answers:
        key = f"{COUNTING}|{draft_key}|lags {lags}|{answer.id}|{answer.fingerprint}"
        if key not in journal:
            draft = draft or load(folder, target)
            journal.put(key, hits(draft, answer, lags).tolist())
        groups.setdefault(answer.category, []).append(torch.tensor(journal[key]))
        advance(answer.walked(0))
    every = torch.stack([counts for group in groups.values() for counts in group]).sum(0)
    held = every[:, 1].clamp_min(1)
    return Accuracy(
        _shares(every),
        {name: _shares(torch.stack(groups[name]).sum(0)) for name in sorted(groups)},
        (every[:, 2] / held).tolist(),
        float(every[0, 1] / every[0, 0].clamp_min(1)),
    )


def load(folder: Path, target: TargetModel) -> GlideDraft:
    """The draft's weights beside the target's, none of them rounded."""
    like = target.embedding
    config, state = load_glide(folder, like.device, like.dtype)
    return GlideDraft.build(config, state, target, int8=False)


@torch.inference_mode()
def hits(draft: GlideDraft, answer: Answer, lags: int) -> Tensor:
    """``[lags, 3 + len(TOPS)]`` float64: positions asked, how many of their tokens the draft's
    vocabulary holds, the loss of those, and how many were among the best k."""
    first, last = answer.prompt_len, len(answer.tokens) - 1  # position t is asked for t + 1
    counts = torch.zeros(lags, 3 + len(TOPS), dtype=torch.float64)
    for lag in range(1, lags + 1):
        for start in range(max(first, lag), last, CHUNK):
            at = torch.arange(start, min(start + CHUNK, last))
            counts[lag - 1] += _count(draft, answer, at, lag).cpu()
    return counts


def _count(draft: GlideDraft, answer: Answer, at: Tensor, lag: int) -> Tensor:
    scores = logits(draft, answer, at, lag).float() / draft.config.temperature
    truth = answer.tokens[at + 1].long().to(scores.device)
    if draft.vocabulary is not None:
        entries = truth.new_full((len(draft.embedding),), -1)
        entries[draft.vocabulary] = torch.arange(len(draft.vocabulary), device=truth.device)
        truth = entries[truth]
    held = truth >= 0
    loss = F.cross_entropy(scores[held], truth[held], reduction="sum")
    named = scores.topk(min(max(TOPS), scores.shape[-1]), dim=-1).indices == truth[:, None]
    tops = [named[:, :top].any(1).sum() for top in TOPS]
    return torch.stack([torch.tensor(len(at), device=loss.device), held.sum(), loss, *tops])


def logits(draft: GlideDraft, answer: Answer, at: Tensor, lag: int) -> Tensor:
    """``[Q, Vd]`` of the next tokens at positions ``at [Q]``."""
    device = draft.embedding.device
    at = at.to(device)
    x = F.embedding(answer.tokens.long().to(device), draft.embedding)
    every = torch.arange(len(x), device=device)
    cos, sin = draft.tables(every)
    blocks = draft.config.num_layers
    own = [part.transpose(0, 1).chunk(blocks) for part in draft.layer.self_kv(x, cos, sin)]
    cached = [part.transpose(0, 1).to(device)[None] for part in (answer.keys, answer.values)]
    window = (every <= at[:, None]) & (every >= at[:, None] - draft.config.window)
    known = every <= at[:, None] - lag

    def self_attend(query: Tensor, _keys: Tensor, _values: Tensor, block: int) -> Tensor:
        return _attend(query, own[0][block][None], own[1][block][None], window)

    def cross_attend(query: Tensor) -> Tensor:
        return _attend(query, cached[0], cached[1], known)

    fused = draft.layer.fuse(x[at], answer.hidden.to(device)[at - lag])
    return draft.logits(draft.layer(x[at], fused, cos[at], sin[at], self_attend, cross_attend))


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """``[Q, heads, d]`` over ``[1, kv_heads, K, d]``."""
    rows = query.transpose(0, 1)[None]
    return masked_attention(rows, keys, values, mask[None])[0].transpose(0, 1)


def _shares(counts: Tensor) -> Shares:
    share = (counts[:, 3:] / counts[:, :1].clamp_min(1)).T.tolist()
    return {f"top-{top}": row for top, row in zip(TOPS, share, strict=True)}
