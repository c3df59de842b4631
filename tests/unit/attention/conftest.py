"""Where the kernel's checks run, and what Triton's interpreter lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(scope="session")
def device() -> str:
    return "cpu"


@pytest.fixture(scope="session", autouse=INTERPRETED)
def bfloat16_products() -> Iterator[None]:
    """The interpreter keeps bfloat16 as 16-bit integers and multiplies those (triton #11584)."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    stock = InterpreterBuilder.create_dot

    def widen(handle: Any) -> Any:
        if handle.dtype.scalar == tl.bfloat16:
            bits = handle.data.astype(np.uint32) << 16
            return type(handle)(bits.view(np.float32), tl.float32)
        return handle

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return stock(self, widen(a), widen(b), *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpreterBuilder, "create_dot", create_dot)
        yield
