"""Two engines side by side: both start, one measures at a time, and neither harms the other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from recipes.gpu import cycle
from recipes.gpu.cycle import Cycles
from recipes.gpu.plan import Plan, read

PLAN = Plan(device="cpu", shapes="tiny", contexts=(8,), batches=(1,))
ENGINE = """
import json, pathlib, sys, time
own, arm, kind = pathlib.Path(sys.argv[1]) / "cycle", *sys.argv[2:]
if kind == "slow": time.sleep(99)
if kind == "refuses": raise ValueError("no such engine")
(own / f"{arm}.ready").touch()
share, began = float(sys.stdin.readline()), time.time()
time.sleep(0.3)
row = {"context": 8, "batch": 1, "ms": 1.0, "share": share, "span": [began, time.time()]}
(own / f"{arm}.json").write_text(json.dumps({"settings": {}, "rows": [row]}))
"""
GIB = {"together": 100.0, "one by one": 5.5}


def run(
    folder: Path, card: float, monkeypatch: pytest.MonkeyPatch, **kinds: str
) -> tuple[list[str], dict[str, Any]]:
    """The arms that failed, and the rows of the others."""

    def module(name: str, folder: Path, arm: str) -> list[str]:
        return [sys.executable, "-c", ENGINE, str(folder), arm, kinds.get(arm, "")]

    monkeypatch.setattr(cycle, "module", module)
    (folder / "cycle").mkdir()
    failed = Cycles(PLAN, folder, card, cycle.time.monotonic() + 60).run()
    found = read(folder / cycle.RESULT)["arms"]
    return failed, {arm: each["rows"][0] for arm, each in found.items()}


@pytest.mark.parametrize("card", GIB.values(), ids=GIB)
def test_one_measures_at_a_time(
    card: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, rows = run(tmp_path, card, monkeypatch)
    assert failed == []
    assert rows["vanilla"]["span"][1] <= rows["longspec"]["span"][0]
    assert rows["vanilla"]["share"] < 31  # half of what is left
    assert rows["vanilla"]["share"] < rows["longspec"]["share"] < 60  # all of what is left


@pytest.mark.parametrize("kind", ["refuses", "slow"])
@pytest.mark.parametrize("arm", cycle.ARMS)
def test_one_that_does_not_start_leaves_the_other(
    arm: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "START_S", 3.0)
    failed, rows = run(tmp_path, GIB["together"], monkeypatch, **{arm: kind})
    assert failed == [arm]
    assert set(rows) == {*cycle.ARMS} - {arm}
