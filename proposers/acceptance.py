"""Which drafted path the target accepts: a lossless walk down the tree.

At each row the target draws its own next token, with the request's own sampling parameters, and
the walk goes on to the child that carries this token. As the draft is fixed before the draw, the
output is distributed exactly as without drafting, for any proposal and for greedy and sampling
alike: accepting child ``x`` has probability ``p(x)``, and a draw that no child carries is already
the token to emit. (The public reference indexes the vocabulary by node and treats top-k candidates
as samples, which is not lossless.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .tree import DraftTrees


@dataclass(frozen=True)
class Walk:
    """The accepted paths of a batch, ``D`` being the depth of the deepest tree.

    Attributes:
        tokens: ``[B, D + 1]`` emitted tokens: accepted ones, then the bonus token; -1 pads.
        rows: ``[B, D + 1]`` the row that each token was drawn at (0 is the root); -1 pads.
        accepted: ``[B]`` how many drafted tokens were accepted (emitted tokens minus one).
    """

    tokens: Tensor
    rows: Tensor
    accepted: Tensor

    def last_rows(self) -> Tensor:
        """``[B]`` the row of the deepest accepted node (0 when none was)."""
        return self.rows.gather(1, self.accepted[:, None]).squeeze(1)


class DrawNext(Protocol):
    """The target's next token at one row of each request."""

    def __call__(self, rows: Tensor, active: Tensor, depth: int) -> Tensor:
        """Draw at ``rows[b]`` (``[B]``) where ``active[b]``; return tokens ``[B]``."""
        ...


def walk(trees: DraftTrees, draw: DrawNext, static: bool = False) -> Walk:
    """Walk down all trees of a batch at once, drawing only at rows that are visited.

    ``static``: ``D`` is ``trees.levels``, and nothing is read back from the device.
    """
    batch, device = trees.batch_size, trees.tokens.device
    depth = trees.levels if static else _deepest(trees)
    tokens = torch.full((batch, depth + 1), -1, dtype=torch.int64, device=device)
    rows = torch.full_like(tokens, -1)
    row = torch.zeros(batch, dtype=torch.int64, device=device)
    active = torch.ones(batch, dtype=torch.bool, device=device)
    for level in range(depth + 1):
        drawn = draw(row, active, level)
        tokens[:, level] = torch.where(active, drawn, -1)
        rows[:, level] = torch.where(active, row, -1)
        found, child = _matching_child(trees, row, drawn)
        active = active & found
        if not static and not bool(active.any()):
            break
        row = torch.where(active, child, row)
    return Walk(tokens, rows, (tokens >= 0).sum(1) - 1)


def _deepest(trees: DraftTrees) -> int:
    return int(trees.depths[trees.valid()].max()) if bool((trees.sizes > 0).any()) else 0


def _matching_child(trees: DraftTrees, row: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
    match = (trees.parents == row[:, None] - 1) & (trees.tokens == token[:, None]) & trees.valid()
    if trees.max_nodes == 0:
        return match.any(1), row
    return match.any(1), match.to(torch.int8).argmax(1) + 1


def greedy_walk(trees: DraftTrees, next_tokens: Tensor, static: bool = False) -> Walk:
    """The walk when every row's next token is known.

    Args:
        next_tokens: ``[B, N + 1]`` the target's argmax (or its draw) at every row.
        static: as in :func:`walk`.
    """
    if next_tokens.device.type == "cpu" and len(next_tokens) and not static:
        return _walk_on_host(trees, next_tokens)

    def look_up(rows: Tensor, active: Tensor, depth: int) -> Tensor:
        return next_tokens.gather(1, rows[:, None]).squeeze(1)

    return walk(trees, look_up, static)


def _walk_on_host(trees: DraftTrees, next_tokens: Tensor) -> Walk:
    """The same by lists: on a CPU a handful of nodes costs less than an operator."""
    width = _deepest(trees) + 1
    sizes, nodes = trees.sizes.tolist(), (trees.parents.tolist(), trees.tokens.tolist())
    tokens, rows, accepted = [], [], []
    for size, parents, drafted, drawn in zip(sizes, *nodes, next_tokens.tolist(), strict=True):
        path = [0]
        for node in range(size):  # children come after their parents
            if parents[node] == path[-1] - 1 and drafted[node] == drawn[path[-1]]:
                path.append(node + 1)
        rest = [-1] * (width - len(path))
        tokens.append([drawn[row] for row in path] + rest)
        rows.append(path + rest)
        accepted.append(len(path) - 1)
    return Walk(*(torch.tensor(part) for part in (tokens, rows, accepted)))
