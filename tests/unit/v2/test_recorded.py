"""Captured regions, on a CPU: see ``recorded_checks``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..interpreted import assert_checks_pass

pytest.importorskip("vllm", reason="needs the engine: make setup")


def test_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("recorded_checks.py"))
