"""The target's products by our kernel: as near to exact ones as vLLM's own are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from longspec_plugin.native import few_rows
from proposers import native

from .conftest import TOKENS
from .serving import Client, Completion, Plain, accepted, serve

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not few_rows.available(), reason="no kernel for this processor"),
]
NOISE = 1.25
"""How much farther than vLLM's products ours may be, of a mean over some hundred tokens."""


KEPT = "products of torch.{} by its own kernel"


def apart(found: list[Completion], exact: list[Completion]) -> tuple[float, int]:
    """Mean difference of log-probabilities while tokens are the same, and how many these are."""
    pairs = [
        (mine, theirs)
        for one, other in zip(found, exact, strict=True)
        for mine, theirs, same in zip(one.logprobs, other.logprobs, _same(one, other), strict=False)
        if same
    ]
    return sum(abs(a - b) for a, b in pairs) / len(pairs), len(pairs)


def _same(one: Completion, other: Completion) -> list[bool]:
    equal = [a == b for a, b in zip(one.tokens, other.tokens, strict=False)]
    return [all(equal[: i + 1]) for i in range(len(equal))]


def answers(client: Client, prompts: list[str]) -> list[Completion]:
    return client.complete_all(prompts, 8, max_tokens=TOKENS, temperature=0, logprobs=1)


@pytest.mark.skipif(
    not few_rows.takes(torch.zeros(2, 8)), reason="products of float32 are vLLM's own here"
)
def test_in_float32_as_vllms_products(
    plain: Plain, trees: Client, prompts: list[str], logs: Path
) -> None:
    exact, found = answers(plain[0], prompts), answers(trees, prompts)
    difference, tokens = apart(found, exact)
    print(f"mean difference: {difference}")
    assert tokens == sum(len(answer.tokens) for answer in exact)
    assert difference < 1e-4
    assert KEPT.format("float32") in (logs / "trees.log").read_text()


@pytest.mark.skipif(
    not native.multiplies_bfloat16(),
    reason="vLLM's own products, plain loops here, take many minutes to compare with",
)
def test_as_near_to_float32_as_vllms_products(
    plain: Plain, target_dir: Path, speculative: dict[str, Any], prompts: list[str], logs: Path
) -> None:
    exact, found = answers(plain[0], prompts), {}
    for ours in (True, False):
        log = logs / f"few_rows_{ours}.log"
        config = {**speculative, "few_rows": ours}
        with serve(target_dir, log, config, "--dtype", "bfloat16") as client:
            found[ours] = apart(answers(client, prompts), exact)
            assert accepted(client) > 0
        assert (KEPT.format("bfloat16") in log.read_text()) is ours
    print(f"mean difference, tokens: ours {found[True]}, vLLM's {found[False]}")
    assert found[True][0] < NOISE * found[False][0]
    assert found[True][1] > len(prompts) * TOKENS / 4
