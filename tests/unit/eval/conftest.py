"""Scripted servers need no patience."""

from __future__ import annotations

import pytest

from eval.servers import server
from eval.speed_bench import window


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits; a stop always waits, as children of the dummy ignore SIGTERM."""
    monkeypatch.setattr(server.stop, "__defaults__", (0.3,))
    monkeypatch.setattr(server, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(window, "SETTLE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take a second or two; only the tests of reports draw them."""
    if "test_report" not in request.node.path.name:
        monkeypatch.setattr("eval.report.html.plots", lambda *_: {})
