"""The target's products by our kernel, in bfloat16: as near to float32 as vLLM's own are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from longspec_plugin.native import few_rows
from proposers import native

from .conftest import TOKENS
from .serving import Client, Completion, Plain, accepted, serve

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not few_rows.available(), reason="no kernel for this processor"),
    pytest.mark.skipif(
        not native.multiplies_bfloat16(),
        reason="vLLM's own products, plain loops here, take many minutes to compare with",
    ),
]
NOISE = 1.25
"""How much farther than vLLM's products ours may be, of a mean over some hundred tokens."""


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


def test_as_near_to_float32_as_vllms_products(
    plain: Plain, target_dir: Path, speculative: dict[str, Any], prompts: list[str], logs: Path
) -> None:
    def answers(client: Client) -> list[Completion]:
        return client.complete_all(prompts, 8, max_tokens=TOKENS, temperature=0, logprobs=1)

    exact, found = answers(plain[0]), {}
    for ours in (True, False):
        log = logs / f"few_rows_{ours}.log"
        config = {**speculative, "few_rows": ours}
        with serve(target_dir, log, config, "--dtype", "bfloat16") as client:
            found[ours] = apart(answers(client), exact)
            assert accepted(client) > 0
        assert ("by its own kernel" in log.read_text()) is ours
    print(f"mean difference, tokens: ours {found[True]}, vLLM's {found[False]}")
    assert found[True][0] < NOISE * found[False][0]
    assert found[True][1] > len(prompts) * TOKENS / 4
