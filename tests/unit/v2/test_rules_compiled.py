"""The kernels of rules along trees, compiled for GPUs, not run."""

from __future__ import annotations

import pytest

pytest.importorskip("vllm", reason="needs the engine: make setup")

from longspec_plugin.vllm.v2 import rules

from ..compiled import compile_for, needs_triton

ROWS = {"logits": "*fp32", "slots": "*i32", "places": "*i32", "drafted": "*i32", "parents": "*i64"}
PENALTIES = dict.fromkeys(("repetition", "frequency", "presence"), "*fp32")
PENALTIES |= {"prompts": "*i32", "counts": "*i32"}
WORDS = dict.fromkeys(("words", "offsets", "numbers", "texts", "starts", "lengths"), "*i32")
CAPABILITIES = pytest.mark.parametrize("capability", [80, 86, 90])


@needs_triton
@CAPABILITIES
def test_penalties(capability: int) -> None:
    fixed = {"block": rules.BLOCK}
    assert compile_for(capability, rules._penalise, ROWS | PENALTIES, fixed, {})


@needs_triton
@CAPABILITIES
def test_bad_words(capability: int) -> None:
    assert compile_for(capability, rules._forbid, ROWS | WORDS, {}, {})
