"""The adapters' CPU kernels."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

from proposers import native

SOURCE = Path(__file__).with_name("tree_attention.cpp")


class Problem(ctypes.Structure):
    """Mirror of ``struct Problem`` in the C++ source."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in ("query", "out", "keys", "values", "table")]
        + [(name, ctypes.c_void_p) for name in ("table_row", "first_row", "prefix", "tail", "mask")]
        + [(name, ctypes.c_int64) for name in ("batch", "heads", "kv_heads", "head_dim")]
        + [(name, ctypes.c_int64) for name in ("block_size", "query_stride", "out_stride")]
        + [(name, ctypes.c_int64) for name in ("table_stride", "mask_width")]
        + [(name, ctypes.c_int64) for name in ("cache_stride", "head_stride")]
        + [(name, ctypes.c_void_p) for name in ("new_keys", "new_values", "slots")]
        + [(name, ctypes.c_int64) for name in ("new_keys_stride", "new_values_stride")]
        + [("scale", ctypes.c_float)]
    )


def library() -> ctypes.CDLL | None:
    """The kernels; None where no C++ compiler is found."""
    return native.library(SOURCE)


def avx2_alone() -> bool:
    """Whether the processor has AVX2 and no AVX-512."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def quicker_than_stock(dtype: torch.dtype) -> bool:
    """Whether attention of a prompt's rows, too, is quicker by ours than by an engine's.

    So with AVX2 alone (:mod:`recipes.eval.prefill` measures it); elsewhere it was not asked.
    """
    return avx2_alone() and dtype in native.DTYPES and library() is not None
