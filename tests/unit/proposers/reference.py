"""Lookup and merging request by request on lists, as an oracle of what is done on tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from proposers.tree import DraftTrees, from_parents


def match_ends(tokens: list[int], n: int) -> list[int]:
    """Ends of earlier occurrences of the last ``n`` tokens, ascending."""
    return [end for end in range(n, len(tokens)) if tokens[end - n : end] == tokens[-n:]]


def agreement(tokens: list[int], ngrams: Iterable[int]) -> int:
    """The longest n-gram at the end of ``tokens`` that occurs before; at least 1."""
    return next((n for n in ngrams if match_ends(tokens, n)), 1)


def continuations(tokens: list[int], ngrams: range, count: int, depth: int) -> list[list[int]]:
    """Up to ``count`` distinct continuations, longest match first, then latest; as texts end, they
    go on from the match."""
    found: list[list[int]] = []
    for n in ngrams:
        for end in match_ends(tokens, n)[::-1]:
            continuation = tokens[end : end + depth]
            if not any(known[: len(continuation)] == continuation for known in found):
                found.append([tokens[end + i % (len(tokens) - end)] for i in range(depth)])
            if len(found) == count:
                return found
    return found


def tree_of(paths: list[list[int]], budget: int) -> tuple[list[int], list[int]]:
    """Tokens and parents of one breadth-first tree of at most ``budget`` nodes."""
    tokens: list[int] = []
    parents: list[int] = []
    node_of: dict[tuple[int, ...], int] = {(): -1}
    for depth in range(max(map(len, paths), default=0)):
        for path in (tuple(c[: depth + 1]) for c in paths if len(c) > depth):
            if path in node_of or path[:-1] not in node_of or len(tokens) == budget:
                continue
            node_of[path] = len(tokens)
            tokens.append(path[-1])
            parents.append(node_of[path[:-1]])
    return tokens, parents


def merge(first: DraftTrees, second: DraftTrees) -> DraftTrees:
    """The paths of both; a shared node keeps its place and score in ``first``."""
    parts: list[list[list[Any]]] = [[], [], []]
    for b in range(first.batch_size):
        tokens, parents, scores = _lists(first, b)
        node_of = {pair: node for node, pair in enumerate(zip(parents, tokens, strict=True))}
        place = {-1: -1}
        for node, (token, parent, score) in enumerate(zip(*_lists(second, b), strict=True)):
            pair = (place[parent], token)
            if pair not in node_of:
                node_of[pair] = len(tokens)
                tokens.append(token)
                parents.append(pair[0])
                scores.append(score)
            place[node] = node_of[pair]
        for part, row in zip(parts, (tokens, parents, scores), strict=True):
            part.append(row)
    return from_parents(*parts)


def _lists(trees: DraftTrees, b: int) -> tuple[list[Any], list[Any], list[Any]]:
    size = int(trees.sizes[b])
    rows = (trees.tokens, trees.parents, trees.log_probs)
    tokens, parents, scores = (part[b, :size].tolist() for part in rows)
    return tokens, parents, scores


def falling(trees: DraftTrees) -> DraftTrees:
    """Each node at least as likely as its children, so that pruning keeps whole paths."""
    scores = trees.log_probs.tolist()
    for row, parents in zip(scores, trees.parents.tolist(), strict=True):
        for node in reversed(range(len(row))):  # padding has no parent
            if parents[node] >= 0:
                row[parents[node]] = max(row[parents[node]], row[node])
    return replace(trees, log_probs=torch.tensor(scores).reshape(trees.log_probs.shape))


def pruned(trees: DraftTrees, budgets: list[int], floor: float) -> DraftTrees:
    """The likeliest nodes, of equals the first, in their order."""
    parts: list[list[list[Any]]] = [[], [], []]
    for b, budget in enumerate(budgets):
        tokens, parents, scores = _lists(trees, b)
        order = sorted(range(len(tokens)), key=lambda node: -scores[node])
        kept = sorted(node for node in order[:budget] if scores[node] >= floor)
        place = {-1: -1, **{node: at for at, node in enumerate(kept)}}
        parts[0].append([tokens[node] for node in kept])
        parts[1].append([place[parents[node]] for node in kept])
        parts[2].append([scores[node] for node in kept])
    return from_parents(*parts)
