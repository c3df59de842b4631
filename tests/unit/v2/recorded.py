"""A stand-in for a captured graph on a CPU: a region's calls, played again on the same tensors.

As a CUDA graph does, a replay computes what was recorded from what now lies at the addresses that
were read, into those that were written; whatever the region took from anywhere else is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longspec_plugin.vllm.v2 import attention
from proposers.attention import paged_triton

Call = tuple[Callable[..., Any], Any, dict[str, Any], Any]


class Recording(TorchDispatchMode):
    """Collects operators and kernel launches while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.launching = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if not self.launching:
            self.calls.append((func, args, given, result))
        return result

    def launch(self, *args: Any) -> None:
        """The kernel of paged attention; what its interpreter does is not recorded."""
        self.launching = True
        try:
            LAUNCH(*args)
        finally:
            self.launching = False
        self.calls.append((LAUNCH, args, {}, None))

    @torch.inference_mode()
    def replay(self) -> None:
        """Do all of it again; results go where they went."""
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    assert old.shape == new.shape, f"{func} depends on values"
                    old.copy_(new)


LAUNCH = paged_triton.paged_attention


def record(region: Callable[[], Any], patch: pytest.MonkeyPatch) -> Recording:
    """Run a region and record it."""
    recording = Recording()
    for module in (paged_triton, attention):
        patch.setattr(module, "paged_attention", recording.launch)
    with torch.inference_mode(), recording:
        region()
    for module in (paged_triton, attention):
        patch.setattr(module, "paged_attention", LAUNCH)
    return recording
