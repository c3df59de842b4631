"""Grammars along trees: the scheduler's matchers go from node to node, and each has its bitmask.

The scheduler makes a bitmask for each row of a step while the step's forward runs, out of the
drafts that it is told. It is told trees here, and vLLM's own loop over the drafts is kept: what it
takes for a grammar is one that stands at whatever node was accepted last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Any

Told = Mapping[str, Sequence[int]]
"""The drafts of a step, by request."""


class TreeTokens(list[int]):
    """Drafts of one request, as vLLM passes them on and cuts them, with the tree that they are.

    Attributes:
        parents: of the nodes, breadth first, -1 is the root; drafts behind them are padding.
    """

    parents: list[int]

    @classmethod
    def of(cls, row: Sequence[int], width: int) -> list[int]:
        """From ``[tokens, parents, size]`` of ``width`` nodes; a chain stays a list."""
        parents = list(row[width : width + row[-1]])
        if parents == list(range(-1, len(parents) - 1)):
            return list(row[:width])
        made = cls(row[:width])
        made.parents = parents
        return made


class TreeGrammar:
    """A request's grammar for vLLM's loop over drafts, which ends where it began.

    Rows under a node that the grammar forbids, and of padding, are never reached: all is allowed.
    """

    def __init__(self, grammar: Any, parents: Sequence[int]) -> None:
        self.grammar, self.parents = grammar, parents
        self.paths: list[list[int] | None] = []  # of each node so far, None where it is forbidden
        self.at: list[int] = []  # the tokens that the matcher has gone

    def is_terminated(self) -> bool:
        """Not for the loop, which would then go no further."""
        return False

    def accept_tokens(self, request: str, tokens: Sequence[int]) -> bool:
        """Go to the next node, whose token this is."""
        node, path = len(self.paths), None
        if node < len(self.parents):
            parent = self.parents[node]
            above = self.paths[parent] if parent >= 0 else []
            path = None if above is None else self.below(request, above, tokens)
        self.paths.append(path)
        return True

    def below(self, request: str, above: list[int], tokens: Sequence[int]) -> list[int] | None:
        """Go on from a path; None where the grammar does not."""
        self.go(request, above)
        if self.grammar.is_terminated() or not self.grammar.validate_tokens(list(tokens)):
            return None
        path = [*above, *tokens]
        self.go(request, path)
        return path

    def go(self, request: str, path: list[int]) -> None:
        """Bring the matcher to a path that it is known to accept."""
        shared = len(
            [*takewhile(lambda pair: pair[0] == pair[1], zip(self.at, path, strict=False))]
        )
        if len(self.at) > shared:
            self.grammar.rollback(len(self.at) - shared)
        if len(path) > shared:
            self.grammar.accept_tokens(request, path[shared:])
        self.at = path

    def fill_bitmask(self, bitmask: Any, index: int) -> None:
        """Of the node where the loop stands."""
        path = self.paths[-1] if self.paths else []
        if path is None or self.grammar.is_terminated():
            bitmask[index].fill_(-1)
        else:
            self.grammar.fill_bitmask(bitmask, index)

    def rollback(self, count: int) -> None:
        """Back to the root, whatever was counted."""
        if self.at:
            self.grammar.rollback(len(self.at))
        self.at = []


def attach(manager: Any) -> None:
    """Let a scheduler's manager of grammars heed trees.

    Why: it takes the drafts of a request for a chain. How: two methods of this one instance.
    Upstream: vllm/v1/structured_output/__init__.py. It can go when drafts come with their parents.
    """
    manager.validate_tokens = partial(validated, manager.validate_tokens)
    manager.grammar_bitmask = partial(masked, manager.grammar_bitmask)


def validated(stock: Callable[..., list[int]], request: Any, tokens: list[int]) -> list[int]:
    """A tree is not cut at what the grammar forbids: the bitmasks see to it."""
    return tokens if isinstance(tokens, TreeTokens) else stock(request, tokens)


def masked(
    stock: Callable[..., Any], requests: Mapping[str, Any], names: list[str], told: Told
) -> Any:
    """Bitmasks of a step's rows."""
    with along_trees(requests, names, told):
        return stock(requests, names, told)


@contextmanager
def along_trees(requests: Mapping[str, Any], names: Sequence[str], told: Told) -> Iterator[None]:
    """Meanwhile grammars of requests with trees go along them."""
    drafts = {name: told.get(name) for name in names}
    trees = {name: tokens for name, tokens in drafts.items() if isinstance(tokens, TreeTokens)}
    held = {name: requests[name].structured_output_request for name in trees}
    grammars = {name: request.grammar for name, request in held.items()}
    try:
        for name, request in held.items():
            request.grammar = TreeGrammar(grammars[name], trees[name].parents)
        yield
    finally:
        for name, request in held.items():
            request.grammar = grammars[name]
