"""A stand-in for a captured graph on a CPU: a region's calls, played again on the same tensors.

As a CUDA graph does, a replay computes what was recorded from what now lies at the addresses that
were read, into those that were written; whatever the region took from anywhere else is stale.
Operators are recorded as PyTorch dispatches them, kernels as Triton's interpreter launches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import GridExecutor

Call = tuple[Callable[..., Any], Any, dict[str, Any], Any]


class Recording(TorchDispatchMode):
    """Collects operators and kernel launches while it is entered.

    Attributes:
        replays: of all recordings of this process.
    """

    replays = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        self.calls.append((func, args, given, result))
        return result

    @torch.inference_mode()
    def replay(self) -> None:
        """Do all of it again; results go where they went."""
        Recording.replays += 1
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    assert old.shape == new.shape, f"{func} depends on values"
                    old.copy_(new)


def launches(made: Recording) -> list[Call]:
    """Kernels, and operators that write memory: neither views nor memory that is yet empty."""
    return [call for call in made.calls if _writes(*call)]


def _writes(func: Any, args: Any, kwargs: Any, result: Any) -> bool:
    if not isinstance(func, torch._ops.OpOverload) or func._schema.is_mutable:
        return True
    given = {_memory(part) for part in tensors((args, kwargs))}
    new = any(_memory(part) not in given for part in tensors(result))
    return new and "empty" not in func.name()


def tensors(tree: Any) -> list[torch.Tensor]:
    """All that have memory of their own to ask for: packed weights have not."""
    leaves = (part for part in tree_leaves(tree) if isinstance(part, torch.Tensor))
    return [part for part in leaves if not part.is_mkldnn]


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


LAUNCH = GridExecutor.__call__
OPEN: list[Recording] = []


def as_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Recorded as one call, whatever is done inside: for what stands in for a kernel."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            result = function(*args, **kwargs)
        if OPEN:
            OPEN[-1].calls.append((function, args, kwargs, result))
        return result

    return call


@contextmanager
def recording(made: Recording) -> Iterator[Recording]:
    """Record what is done meanwhile."""
    GridExecutor.__call__ = as_kernel(LAUNCH)
    OPEN.append(made)
    try:
        with torch.inference_mode(), made:
            yield made
    finally:
        OPEN.pop()
        GridExecutor.__call__ = LAUNCH


def record(region: Callable[[], Any]) -> Recording:
    """Run a region and record it."""
    with recording(Recording()) as made:
        region()
    return made
