"""Bitmasks along trees: vLLM's own loop, its matchers of a real grammar, every node's own path."""

from __future__ import annotations

import pickle
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="needs the engine: make setup")

import xgrammar
from vllm.v1.structured_output import StructuredOutputManager
from vllm.v1.structured_output.backend_xgrammar import XgrammarGrammar

from longspec_plugin.vllm.v2.grammars import TreeTokens, attach

WORDS = ["<eos>", "a", "b", "c", "ab", "d"]
NODES = 7
CONTEXT = xgrammar.GrammarCompiler(
    xgrammar.TokenizerInfo(WORDS, vocab_size=len(WORDS), stop_token_ids=[0])
).compile_regex("(a|b)(ab|c)*d")


def matcher(path: list[int] | None = None) -> Any:
    """A request's grammar behind some tokens."""
    found = XgrammarGrammar(
        vocab_size=len(WORDS), matcher=xgrammar.GrammarMatcher(CONTEXT), ctx=CONTEXT
    )
    assert found.accept_tokens("", path or [])
    return found


def manager() -> Any:
    """vLLM's, without an engine around it."""
    made = object.__new__(StructuredOutputManager)
    made.vllm_config = SimpleNamespace(
        num_speculative_tokens=NODES,
        scheduler_config=SimpleNamespace(max_num_seqs=4),
        model_config=SimpleNamespace(is_diffusion=False),
    )
    made.backend = SimpleNamespace(
        allocate_token_bitmask=lambda rows: xgrammar.allocate_token_bitmask(rows, len(WORDS))
    )
    made.fill_bitmask_parallel_threshold, made._grammar_bitmask = 128, None
    made._full_mask, made.enable_in_reasoning = torch.tensor(-1, dtype=torch.int32), True
    attach(made)
    return made


def request(grammar: Any) -> Any:
    held = SimpleNamespace(grammar=grammar, masked_reasoning_end_ids=())
    return SimpleNamespace(structured_output_request=held, use_structured_output=True)


def expected(begun: list[int], path: list[int]) -> int:
    """The tokens that may follow a path, by a matcher that goes this path alone; -1 is all."""
    alone = matcher(begun)
    for token in path:
        if alone.is_terminated() or not alone.validate_tokens([token]):
            return -1  # it is never reached
        alone.accept_tokens("", [token])
    if alone.is_terminated():
        return -1
    row = xgrammar.allocate_token_bitmask(1, len(WORDS))
    alone.fill_bitmask(row, 0)
    return int(row[0, 0])


def told(tokens: list[int], parents: list[int]) -> list[int]:
    """What the scheduler is told of a tree, padded."""
    pads = [0] * (NODES - len(tokens))
    return TreeTokens.of([*tokens, *pads, *parents, *pads, len(tokens)], NODES)


@pytest.mark.parametrize("seed", range(20))
def test_each_row_has_the_mask_of_its_path(seed: int) -> None:
    """Two trees in a batch; matchers are at their roots again afterwards."""
    draw, made = random.Random(seed), manager()
    begun, trees = [[1], [2, 3, 4]], []
    for size in (NODES, 5):
        parents = sorted(draw.randrange(-1, max(node, 1)) if node else -1 for node in range(size))
        trees.append(([draw.randrange(1, len(WORDS)) for _ in range(size)], [-1, *parents[1:]]))
    trees[0][1][1] = -1  # a tree, no chain
    trees[1][1][1] = -1
    requests = {str(i): request(matcher(text)) for i, text in enumerate(begun)}
    drafts = {str(i): told(*tree) for i, tree in enumerate(trees)}
    for name, tokens in drafts.items():
        assert made.validate_tokens(requests[name], tokens) is tokens
    grammars = [held.structured_output_request.grammar for held in requests.values()]
    found = made.grammar_bitmask(requests, list(requests), drafts)[:, 0].tolist()
    for i, (tokens, parents) in enumerate(trees):
        paths: list[list[int]] = []
        for token, parent in zip(tokens, parents, strict=True):
            paths.append([*(paths[parent] if parent >= 0 else []), token])
        masks = [expected(begun[i], path) for path in ([], *paths)]
        assert found[i * (NODES + 1) :][: len(masks)] == masks
        assert requests[str(i)].structured_output_request.grammar is grammars[i]
        assert grammars[i].num_processed_tokens == len(begun[i])
        row = xgrammar.allocate_token_bitmask(1, len(WORDS))
        grammars[i].fill_bitmask(row, 0)
        assert int(row[0, 0]) == masks[0]


def test_a_chain_goes_vllms_own_way() -> None:
    """It is cut at what the grammar forbids."""
    made, chain = manager(), told([3, 2, 1], [-1, 0, 1])
    assert type(chain) is list
    assert made.validate_tokens(request(matcher([1])), chain) == [3]


def test_trees_are_sent_from_process_to_process() -> None:
    """As vLLM sends them; it also cuts and pads them in place."""
    tree = told([1, 2, 3], [-1, -1, 0])
    sent = pickle.loads(pickle.dumps(tree))
    assert (sent, sent.parents, type(sent)) == (tree, [-1, -1, 0], TreeTokens)
    del sent[2:]
    sent.extend([-1])
    assert (sent, sent.parents) == ([1, 2, -1], [-1, -1, 0])
