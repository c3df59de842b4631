"""What the table marks, and what is checked only where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eval.cli.errors import UserError
from eval.latency_bench.models import build_baseline_model
from eval.latency_bench.options import parse
from eval.latency_bench.results import Row
from eval.latency_bench.table import MARKED, notes, tables


def times(*raw: float) -> dict[str, object]:
    return {"median_ms": raw[0], "raw_ms": list(raw), "output_tokens_per_call": 4, "user_tps": 9.0}


def test_medians_of_one_call_are_marked() -> None:
    rows: dict[str, Row] = {
        "baseline": {"ttft": times(5.0), "call": times(10.0, 10.0)},  # type: ignore[typeddict-item]
        "glide_tree": {"ttft": times(5.0, 5.0), "call": times(11.0)},  # type: ignore[typeddict-item]
    }
    table = tables(rows)[0]
    at = [list(table.columns).index(name) for name in ("TTFT ms", "call ms")]
    cells = [[line[i] for i in at] for line in table.lines.values()]
    assert cells == [["5.00*", "10.0"], ["5.00", "11.0*"]]
    settings = {"dtype": "fp32", "poe_max_new_tokens": 4}
    about = {"model": {"name": "m"}, "device": {"name": "d"}, "complete": True}
    prompt = {"tokens": 3, "source": "s"}
    data = {**about, "settings": settings, "prompt": prompt, "rows": rows}
    assert MARKED in notes(data)
    rows["baseline"]["ttft"] = rows["glide_tree"]["ttft"]
    rows["glide_tree"]["call"] = rows["baseline"]["call"]
    assert MARKED not in notes(data)


def test_heads_depth_counts_only_where_there_are_heads() -> None:
    assert parse(["--rows", "baseline", "--heads-depth", "16"]).heads_depth == 16
    for row in ("hydra_naive", "hydra_poe"):
        with pytest.raises(UserError, match="--heads-depth 16: OLMo2-1B has 16 layers"):
            parse(["--rows", row, "--heads-depth", "16"])


@pytest.mark.parametrize("size", ["3b", Path("nowhere/at/all")])
def test_sizes_that_are_not_known(size: str | Path) -> None:
    with pytest.raises(UserError, match=f"size='{size}': allowed: 1b, 7b, smollm2, tiny, or the"):
        build_baseline_model(torch.float32, "cpu", size)
