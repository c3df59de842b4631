"""Where the checks of kernels run."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def device() -> str:
    return "cpu"
