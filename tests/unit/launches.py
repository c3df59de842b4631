"""Counting launches of kernels."""

from __future__ import annotations

from typing import Any

import pytest


class Counted:
    """A kernel whose grids are kept in ``launches``."""

    def __init__(self, kernel: Any, launches: list[Any]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: Any) -> Any:
        self.launches.append(grid)
        return self.kernel[grid]


def count_launches(patch: pytest.MonkeyPatch, module: Any, *names: str) -> list[Any]:
    """A list to which every launch of the module's kernels will add its grid."""
    launches: list[Any] = []
    for name in names or ("_kernel",):
        patch.setattr(module, name, Counted(getattr(module, name), launches))
    return launches
