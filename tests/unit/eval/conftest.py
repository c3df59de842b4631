"""Scripted servers need no patience."""

from __future__ import annotations

import pytest

from eval import server, window


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits; a stop always waits, as children of the dummy ignore SIGTERM."""
    monkeypatch.setattr(server.stop, "__defaults__", (0.3,))
    monkeypatch.setattr(server, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(window, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(window, "EXPORT_SECONDS", 0.0)
