"""Growing a tree level by level from a draft model's distributions (LongSpec, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .tree import DraftTrees

MAX_NODES = 128
"""Most nodes a tree may have: the most drafted tokens a step that engines accept."""


@dataclass(frozen=True)
class Frontier:
    """The rows a draft step starts from: the root, then the nodes of the level before.

    Attributes:
        tokens: ``[B, W]`` token ids.
        nodes: ``[B, W]`` node indices, -1 for the root.
        origins: ``[B, W]`` which row of the frontier before each row grew from.
        depth: depth of these rows, 0 for the root.
        first: the first of ``nodes``, the same for all requests; the others follow it.
    """

    tokens: Tensor
    nodes: Tensor
    origins: Tensor
    depth: int
    first: int


class DraftStep(Protocol):
    """One draft forward: the ``k`` best continuations of each frontier row."""

    def __call__(self, frontier: Frontier, k: int) -> tuple[Tensor, Tensor]:
        """Return ``(log_probs, tokens)``, both ``[B, W, k]``."""
        ...


def grow(
    root_tokens: Tensor,
    shape: Sequence[int],
    step: DraftStep,
    min_log_prob: float = float("-inf"),
    nodes: int | None = None,
    static: bool = False,
) -> DraftTrees:
    """Grow one tree per request.

    Level ``d`` holds the ``shape[d]`` (node, token) pairs of greatest cumulative log-probability
    over all nodes of the level before; taking the best ``n`` of each node first gives the same set.

    Args:
        root_tokens: ``[B]`` the last verified token of each request.
        shape: nodes of each level, for instance ``[4, 4, 2, 1]``.
        step: the draft model.
        min_log_prob: growth ends at a level where no request has a path this likely (its
            descendants can only be less likely), which saves the draft forwards below.
        nodes: how many of the likeliest nodes will be kept, if not all; growth ends as well where
            no path of any request can still come among them.
        static: all levels are grown, and nothing is read back from the device.
    """
    batch, device = root_tokens.shape[0], root_tokens.device
    root = torch.full((batch, 1), -1, device=device)
    frontier = Frontier(root_tokens[:, None], root, root + 1, 0, -1)
    least = float("-inf") if static else min_log_prob
    nodes = None if static else nodes
    scores = torch.zeros(batch, 1, device=device)
    levels: list[tuple[Tensor, Tensor, Tensor]] = []
    leading = scores[:, :0]  # the best of all levels so far, at most ``nodes``
    placed = 0
    for width in shape:
        log_probs, tokens = step(frontier, width)
        totals = (scores[:, :, None] + log_probs.float()).flatten(1)
        scores, best = totals.topk(min(width, totals.shape[1]), dim=1)
        if levels and least > float("-inf") and float(scores.max()) < least:
            break
        origins = best // log_probs.shape[2]
        parents = frontier.nodes.gather(1, origins)
        chosen = tokens.flatten(1).gather(1, best)
        levels.append((chosen, parents, scores))
        if nodes is not None:
            leading = torch.cat([leading, scores], dim=1)
            leading = leading.topk(min(nodes, leading.shape[1]), dim=1).values
            if leading.shape[1] == nodes and bool((scores[:, 0] <= leading[:, -1]).all()):
                break
        places = torch.arange(placed, placed + best.shape[1], device=device).expand(batch, -1)
        frontier = Frontier(chosen, places, origins, frontier.depth + 1, placed)
        placed += best.shape[1]
    return _assemble(levels, batch)


def _assemble(levels: list[tuple[Tensor, Tensor, Tensor]], batch: int) -> DraftTrees:
    tokens, parents, scores = (torch.cat(part, dim=1) for part in zip(*levels, strict=True))
    depths = [torch.full_like(level[0], d + 1) for d, level in enumerate(levels)]
    sizes = torch.full((batch,), tokens.shape[1], device=tokens.device)
    return DraftTrees(tokens, parents, torch.cat(depths, dim=1), scores, sizes, len(levels))


def check_shape(shape: Sequence[int], max_nodes: int = MAX_NODES) -> tuple[int, ...]:
    """Validate a tree shape and return it as a tuple.

    Raises:
        ValueError: in one line that names the value, what is allowed and the fix.
    """
    if isinstance(shape, str) or not isinstance(shape, Sequence) or not shape:
        raise ValueError(
            f"tree_shape={shape!r}: expected a non-empty list of level sizes such as [4, 4, 2, 1]"
        )
    for width in shape:
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise ValueError(
                f"tree_shape={list(shape)}: level size {width!r} is not a whole number of 1 or more"
            )
    if sum(shape) > max_nodes:
        raise ValueError(
            f"tree_shape={list(shape)}: {sum(shape)} nodes; at most {max_nodes} are allowed,"
            " shrink the levels"
        )
    return tuple(shape)
