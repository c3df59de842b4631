"""What runs kernels, on a CPU: captured regions, walks and moves, rules of the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..interpreted import assert_checks_pass

pytest.importorskip("vllm", reason="needs the engine: make setup")


@pytest.mark.parametrize("checks", ["recorded_checks.py", "acceptance_checks.py"])
def test_in_the_interpreter(checks: str) -> None:
    assert_checks_pass(Path(__file__).with_name(checks))


def test_rules_in_the_interpreter() -> None:
    assert_checks_pass(Path(__file__).with_name("rules_checks.py"), engine=True)
