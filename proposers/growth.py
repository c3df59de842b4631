"""Growing a tree level by level from a draft model's distributions (LongSpec, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .growth_triton import LevelsTriton
from .levels import Frontier, Levels
from .tree import DraftTrees

MAX_NODES = 128
"""Most nodes a tree may have: the most drafted tokens a step that engines accept."""


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
        min_log_prob: what no request has a path as likely as (its descendants can only be less
            likely) is left out where that saves draft forwards: levels, and on a CPU the rows of a
            level that are under it in all requests.
        nodes: how many of the likeliest nodes will be kept, if not all; growth ends as well where
            no path of any request can still come among them.
        static: all levels are grown, and nothing is read back from the device.
    """
    batch, device = root_tokens.shape[0], root_tokens.device
    made = LevelsTriton if LevelsTriton.take(shape, device) else Levels
    levels = made(batch, sum(shape), device)
    frontier = Frontier(root_tokens[:, None], torch.zeros_like(root_tokens)[:, None], 0, -1)
    least = float("-inf") if static else min_log_prob
    nodes = None if static else nodes
    scores = torch.zeros(batch, 1, device=device)
    leading = scores[:, :0]  # the best of all levels so far, at most ``nodes``
    for width in shape:
        level = levels.choose(frontier, scores, *step(frontier, width), width)
        if least > float("-inf"):
            likely = int((level.scores >= least).sum(1).max())
            if levels.count and not likely:
                break
            level = levels.narrowed(level, max(likely, 1))
        scores = level.scores
        frontier = levels.keep(frontier, level)
        if nodes is not None:
            leading = torch.cat([leading, scores], dim=1)
            leading = leading.topk(min(nodes, leading.shape[1]), dim=1).values
            if leading.shape[1] == nodes and bool((scores[:, 0] <= leading[:, -1]).all()):
                break
    return levels.trees()


def is_whole(value: object) -> bool:
    """Whether it is a whole number, Python's or numpy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_positive(name: str, value: int) -> int:
    """The number as Python's own."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name}={value!r}: expected a whole number of 1 or more")
    return int(value)


def chain_of(gamma: int) -> list[int]:
    """The tree shape of a chain.

    Raises:
        ValueError: in one line that names the value and what is allowed.
    """
    if check_positive("gamma", gamma) > MAX_NODES:
        raise ValueError(f"gamma={gamma}: at most {MAX_NODES} tokens may be drafted a step")
    return [1] * int(gamma)


def check_shape(shape: Sequence[int], max_nodes: int = MAX_NODES) -> tuple[int, ...]:
    """Validate a tree shape and return it as a tuple.

    Raises:
        ValueError: in one line that names the value, what is allowed and the fix.
    """
    shape = shape.tolist() if isinstance(shape, np.ndarray) else shape
    if isinstance(shape, str) or not isinstance(shape, Sequence) or not shape:
        raise ValueError(
            f"tree_shape={shape!r}: expected a non-empty list of level sizes such as [4, 4, 2, 1]"
        )
    for width in shape:
        if not is_whole(width) or width < 1:
            raise ValueError(
                f"tree_shape={list(shape)}: level size {width!r} is not a whole number of 1 or more"
            )
    if sum(shape) > max_nodes:
        raise ValueError(
            f"tree_shape={list(shape)}: {sum(shape)} nodes; at most {max_nodes} are allowed,"
            " shrink the levels"
        )
    return tuple(int(width) for width in shape)
