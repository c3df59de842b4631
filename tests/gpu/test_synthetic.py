"""vLLM's synthetic acceptance as the truth for what the evaluation measures.

    python -m pytest tests/gpu/test_synthetic.py

vLLM then accepts at set rates, whatever is drafted; its CPU kernels do not know that mode, so this
needs an NVIDIA GPU and is skipped without one. The target is its own draft model, so that every
step has a draft.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval import speed_bench
from eval.records.provenance import gpus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="needs an NVIDIA GPU: vLLM's CPU kernels ignore it"),
]


@pytest.mark.parametrize("length", [1.5, 2.5, 3.7])
def test_acceptance_length_is_the_truth(length: float, target_dir: Path, tmp_path: Path) -> None:
    config = {
        "method": "draft_model",
        "model": str(target_dir),
        "num_speculative_tokens": 4,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_length": length,
    }
    line = ["--model", str(target_dir), "--arms", f"synthetic={json.dumps(config)}"]
    shape = ["--output-len", "256", "--num-prompts", "66", "--concurrency", "8"]
    assert speed_bench.main([*line, *shape, "--output-dir", str(tmp_path)]) == 0
    arm = json.loads((tmp_path / "results.json").read_text())["arms"][0]
    assert arm["acceptance_length"]["pooled"] == pytest.approx(length, rel=0.01)
    assert arm["acceptance_length_per_source"]["server"] == pytest.approx(length, rel=0.01)
