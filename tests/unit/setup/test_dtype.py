"""The dtype of the default target by what a processor can multiply."""

from __future__ import annotations

import pytest

from recipes.setup.dtype import dtype


@pytest.mark.parametrize(
    ("told", "gpu", "chosen"),
    [
        ("processor : 0\nflags : fpu sse2 avx2 fma", False, "float32"),
        ("flags : fpu sse2 avx2 fma", True, "auto"),
        ("flags : fpu sse2 avx2 avx512f", False, "auto"),
        ("flags : fpu sse2 avx2 avx_vnni avx_ne_convert", False, "auto"),
        ("Features : fp asimd bf16", False, "auto"),
        ("", False, "auto"),
    ],
)
def test_float32_where_bfloat16_is_no_machine_word(told: str, gpu: bool, chosen: str) -> None:
    assert dtype(told, gpu) == chosen
