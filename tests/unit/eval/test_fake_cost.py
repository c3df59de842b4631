"""The measurement of the client's cost, on a load that takes no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.eval.client_cost import Cost, Load, measure, per_chunk_us, save, show


def test_a_load_is_driven_counted_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = measure(Load(requests=20, concurrency=20, chunks=4))
    assert cost.errors == 0
    assert cost.cpu_s > 0
    assert cost.request_ms == pytest.approx(1e3 * cost.cpu_s / 20)
    show([cost], 5.0)
    shown = capsys.readouterr().out
    assert "20, 20 at once" in shown
    assert "a further chunk costs 5 us" in shown
    save([cost], 5.0, tmp_path / "deep" / "cost.json")
    written = json.loads((tmp_path / "deep" / "cost.json").read_text())
    assert written["loads"][0]["load"]["concurrency"] == 20
    assert written["chunk_us"] == 5.0


def test_the_cost_of_a_chunk_is_the_slope() -> None:
    long = Cost(Load(10, 1, chunks=21), 0, wall_s=1.0, cpu_s=0.05)
    short = Cost(Load(10, 1, chunks=1), 0, wall_s=1.0, cpu_s=0.03)
    assert per_chunk_us(long, short) == pytest.approx(100)
    assert long.share == pytest.approx(0.05)
