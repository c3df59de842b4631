"""A run so small that it takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval.latency_bench import main

SMALL = (
    "--dtype fp32 --device cpu --n-heads 3 --heads-depth 1 --prompt-length 12 --gen-length 4"
    " --step-interval 2 --warmup-ms 0 --rep-ms 1 --gammas 1,3 --poe-max-new-tokens 4"
    " --tree-shape 2,2"
)


def run(tmp_path: Path, *more: str) -> tuple[int, Path, dict[str, Any]]:
    """Exit code, folder and results of the newest run there."""
    out = tmp_path / "results"
    code = main([*SMALL.split(), "--output-dir", str(out), *more])
    folder = max(out.iterdir())
    return code, folder, json.loads((folder / "results.json").read_text("utf-8"))
