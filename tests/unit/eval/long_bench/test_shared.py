"""Offline methods as arms of the schema that served runs have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.long_bench.model import steps_of

from .conftest import Command
from .fake import FakeModel


def results(place: Path) -> dict[str, Any]:
    return json.loads((place / "out" / "results.json").read_text())


def test_methods_are_arms(bench: Command, place: Path, fake: FakeModel) -> None:
    """The fake's calls take 1, 2, 3 s; the first of a task is its warm-up."""
    for method in ("vanilla", "seq", "tree"):
        fake.calls.clear()
        assert bench("--task", "lcc", "--max-gen-len", "9", "--method", method) == 0
    arms = {arm["name"]: arm for arm in results(place)["arms"]}
    assert list(arms) == ["vanilla", "chain", "tree"]
    chain = arms["chain"]
    assert (chain["num_requests"], chain["seconds"]) == (2, 5.0)
    assert chain["throughput_tok_s"] == pytest.approx(14 / 5)
    assert (chain["steps"], chain["accepted"], chain["drafted"]) == (6, 6, 24)
    assert (chain["acceptance_rate"], chain["acceptance_rate_path"]) == (0.25, 0.25)
    tree = arms["tree"]
    assert tree["acceptance_rate"] == tree["accepted"] / (68 * tree["steps"])
    assert tree["acceptance_rate_path"] == tree["accepted"] / (5 * tree["steps"])
    assert arms["vanilla"]["acceptance_rate"] is None
    assert chain["acceptance_length"] == {"pooled": 2.0, "macro": 2.0, "effective": 2.0}
    assert chain["joint_per_position"] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert chain["speedup"]["mean"] == pytest.approx(1.0)
    assert chain["lossless"] == {"identical": 2, "compared": 2, "divergences": []}
    assert chain["by_generated"] == [
        {"low": 0, "high": 32, "steps": 6, "acceptance_length": 2.0},
    ]
    assert (place / "out" / "report.html").is_file()


def test_other_settings_are_no_arm(bench: Command, place: Path, fake: FakeModel) -> None:
    assert bench("--task", "lcc", "--method", "vanilla", "--max-gen-len", "8") == 0
    assert bench("--task", "lcc", "--method", "tree", "--max-gen-len", "9") == 0
    assert [arm["name"] for arm in results(place)["arms"]] == ["tree"]


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 5))
def test_steps_of_a_mask(accepted: list[int], cut: int) -> None:
    """Also where the answer ends within a step's path, without the token that the step adds."""
    mask = [0] + [bit for count in accepted for bit in [1] * count + [0]]
    assert steps_of(mask, len(accepted)) == accepted
    assert steps_of(mask + [1] * cut, len(accepted) + bool(cut)) == accepted + [cut] * bool(cut)
    assert steps_of(mask, len(accepted) + 1) is None
