"""Lookups by kernels without a GPU: interpreted, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proposers import kernels, lookup_triton

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass
from .contexts import of_texts

TYPES = dict.fromkeys(("rows", "lengths", "others"), "*i64") | {"best": "*i32"}
TOLD = dict.fromkeys(("tokens", "sizes", "agreed"), "*i64")


@needs_triton
def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("lookup_checks.py"))


@needs_triton
@pytest.mark.parametrize("capability", [80, 86, 90])
@pytest.mark.parametrize("texts", ["*i32", "*i64"])
@pytest.mark.parametrize(
    ("kernel", "types", "fixed"),
    [
        (
            lookup_triton._find,
            TYPES | {"seen": "*i1"},
            {"block": lookup_triton.BLOCK, "least": lookup_triton.LEAST},
        ),
        (lookup_triton._tell, TYPES | TOLD, {"levels": 16}),
    ],
    ids=["find", "tell"],
)
def test_compiles_for_gpus(
    capability: int, texts: str, kernel: Any, types: dict[str, str], fixed: dict[str, int]
) -> None:
    types, fixed = types | {"texts": texts}, fixed | {"nothing": lookup_triton.NOTHING}
    assert compile_for(capability, kernel, types, fixed, {})


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    with pytest.raises(ImportError, match="look_up needs Triton: pip install triton"):
        lookup_triton.look_up(of_texts([[1, 2]]), range(4, 1, -1), 5, None)
