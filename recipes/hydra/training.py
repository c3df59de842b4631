"""Fine-tuning one head on frozen trunk states; head 0 learns to draft without the trunk as well.

Drafting without the trunk, position i is s tokens behind the last verified one. Its row reads true
states up to position i - s, and guessed ones after that. All rows of one s are a stream; stream 0
is the true states. Streams are run side by side under one mask, and each is guessed from the head's
output on the one before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from proposers.hydra import HydraTransformer
from proposers.hydra.bridge import Bridge

from .data import Answer, Batch, States, batch

RIDGE = 1.0
SKIPPED = 4
"""First positions, whose states are far greater than all others', are not fitted."""


@dataclass(frozen=True)
class Plan:
    """How one head is trained.

    Attributes:
        depth: guessed streams: 0 for heads that verify, the block's depth for the one that drafts.
    """

    steps: int
    batch_size: int
    rate: float
    depth: int
    seed: int


def train_head(
    hydra: HydraTransformer,
    head: int,
    answers: list[Answer],
    states: States,
    plan: Plan,
    advance: Callable[[], None],
) -> None:
    """AdamW with a cosine rate on the cross-entropy of the answers' tokens."""
    weights = list(hydra.heads[head].parameters())
    if plan.depth and hydra.bridge is not None:
        weights += hydra.bridge.parameters()
    for weight in weights:
        weight.requires_grad_(True)
    optimiser = torch.optim.AdamW(weights, plan.rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    for chosen in _drawn(answers, plan):
        losses = stream_losses(hydra, head, batch(chosen, states), plan.depth)
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        advance()
    hydra.requires_grad_(False)


@torch.no_grad()
def measure(
    hydra: HydraTransformer, head: int, answers: Sequence[Answer], states: States, depth: int
) -> dict[str, list[float]]:
    """Mean cross-entropy and share of right argmaxes of each stream, over the answers' tokens."""
    loss, right, count = torch.zeros(depth + 1), torch.zeros(depth + 1), 0
    for answer in answers:
        one = batch([answer], states)
        rows, targets = int(one.rows.sum()), one.tokens[:, 1:][one.rows]
        for s, out in enumerate(streams(hydra, head, one, depth)):
            logits = hydra.logits(out[:, :-1][one.rows]).float()
            loss[s] += float(F.cross_entropy(logits, targets, reduction="sum"))
            right[s] += float((logits.argmax(-1) == targets).sum())
        count += rows
    return {"loss": (loss / count).tolist(), "right": (right / count).tolist()}


def stream_losses(hydra: HydraTransformer, head: int, one: Batch, depth: int) -> list[Tensor]:
    targets = one.tokens[:, 1:][one.rows]
    outs = streams(hydra, head, one, depth)
    return [F.cross_entropy(hydra.logits(o[:, :-1][one.rows]).float(), targets) for o in outs]


def streams(hydra: HydraTransformer, head: int, one: Batch, depth: int) -> list[Tensor]:
    """The head's output ``[B, T, H]`` of stream 0 to ``depth``."""
    if depth == 0:
        return [hydra.head_states(head, one.hidden)]
    inputs = [one.hidden]
    outputs = _side_by_side(hydra, head, inputs)
    for _ in range(depth):
        guessed = hydra.guess(outputs[-1][:, :-1], one.tokens[:, 1:])
        inputs.append(torch.cat([one.hidden[:, :1], guessed], dim=1))
        outputs = _side_by_side(hydra, head, inputs)
    return outputs


def stream_mask(rows: int, depth: int) -> Tensor:
    """``[(depth + 1) rows] x 2`` bool: which row of which stream reads which."""
    index = torch.arange(rows)
    lag = index[:, None] - index[None]

    def block(s: int, r: int) -> Tensor:
        return lag >= s if r == 0 else (lag == s - r) & (r <= s)

    every = range(depth + 1)
    return torch.cat([torch.cat([block(s, r) for r in every], dim=1) for s in every])


def fit_bridge(hydra: HydraTransformer, head: int, answers: list[Answer], states: States) -> Bridge:
    """Least squares from a head's outputs and the next embeddings to the next trunk states."""
    size = 2 * hydra.target_config.hidden_size + 1
    gram = torch.eye(size, dtype=torch.float64) * RIDGE
    moment = torch.zeros(size, size // 2, dtype=torch.float64)
    for answer in answers:
        x, y = _pairs(hydra, head, batch([answer], states))
        gram += x.T @ x
        moment += x.T @ y
    solution = torch.linalg.solve(gram, moment).T
    bridge = Bridge(size // 2)
    with torch.no_grad():
        bridge.linear.weight.copy_(solution[:, :-1])
        bridge.linear.bias.copy_(solution[:, -1])
    return bridge.to(hydra.device, hydra.dtype)


@torch.no_grad()
def _pairs(hydra: HydraTransformer, head: int, one: Batch) -> tuple[Tensor, Tensor]:
    out = hydra.head_states(head, one.hidden)[0, :-1]
    x = torch.cat([out, hydra.embedding(one.tokens[0, 1:]), torch.ones_like(out[:, :1])], dim=-1)
    return x[SKIPPED:].double().cpu(), one.hidden[0, 1:][SKIPPED:].double().cpu()


def _side_by_side(hydra: HydraTransformer, head: int, inputs: list[Tensor]) -> list[Tensor]:
    hidden, rows = torch.cat(inputs, dim=1), inputs[0].shape[1]
    seen = stream_mask(rows, len(inputs) - 1).to(hidden.device)
    mask = torch.zeros(seen.shape, dtype=hidden.dtype, device=hidden.device)
    mask.masked_fill_(~seen, torch.finfo(hidden.dtype).min)
    ids = torch.arange(rows, device=hidden.device).repeat(len(inputs))[None]
    rotated = hydra.rotary(hidden, ids)
    layers: Any = hydra.heads[head]
    for layer in layers:
        hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=rotated)
    return list(hidden.split(rows, dim=1))


def _drawn(answers: list[Answer], plan: Plan) -> Iterator[list[Answer]]:
    """Batches of ``steps`` steps; every answer once before any comes again."""
    generator, left = random.Random(plan.seed), list[Answer]()
    for _ in range(plan.steps):
        while len(left) < plan.batch_size:
            left += generator.sample(answers, len(answers))
        yield [left.pop(0) for _ in range(plan.batch_size)]
