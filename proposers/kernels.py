"""Triton where it is installed: not every PyTorch brings it, and not every user needs it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

try:
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
except ImportError:
    triton = tl = None


def available() -> bool:
    """Whether kernels can run here: Triton is installed and PyTorch sees a GPU."""
    return triton is not None and torch.cuda.is_available()


def runs_on(device: torch.device) -> bool:
    """Whether kernels can run on tensors of this device."""
    return device.type == "cuda" and available()


def require_triton(name: str) -> None:
    """Called first by the function ``name`` that launches a kernel.

    Raises:
        ImportError: Triton is not installed.
    """
    if triton is None:
        raise ImportError(f"{name} needs Triton: pip install triton")


def jit(*varying: str) -> Callable[[Any], Any]:
    """``triton.jit``; without Triton the function stays as it is, to be imported and not called.

    Args:
        varying: arguments that follow a step's sizes. Triton would compile anew for multiples of 16
            and for 1.
    """

    def decorate(function: Any) -> Any:
        return triton.jit(function, do_not_specialize=varying) if triton else function

    return decorate
