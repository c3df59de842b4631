"""Drafting by kernels without a GPU: in Triton's interpreter, and compiled for GPUs, not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proposers import kernels
from proposers.glide import fused_triton, rotary_triton, window_triton
from proposers.glide.fused import FusedGlide

from ..compiled import compile_for, needs_triton
from ..interpreted import assert_checks_pass
from .test_proposer import bound
from .tiny import tiny_draft

GPUS = pytest.mark.parametrize(
    ("capability", "dtype", "dim"),
    [(80, "bf16", 64), (86, "fp32", 128), (86, "fp32", 256), (90, "bf16", 128), (90, "fp16", 80)],
)
BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


@needs_triton
@pytest.mark.parametrize(
    "checks", ["fused_checks.py", "fused_recorded_checks.py", "fused_sharded_checks.py"]
)
def test_in_the_interpreter(checks: str) -> None:
    assert_checks_pass(Path(__file__).with_name(checks))


@needs_triton
@GPUS
@pytest.mark.parametrize("folded", [4, 64])
def test_attention_compiles_for_gpus(capability: int, dtype: str, dim: int, folded: int) -> None:
    fixed = {"groups": 4, "dim": dim, **window_triton.blocks(folded, dim, BYTES[dtype])}
    types = dict.fromkeys(("query", "keys", "values", "out"), f"*{dtype}")
    types |= dict.fromkeys(("slots", "roots", "origins"), "*i64")
    types |= dict.fromkeys(("above", "own"), "*u8") | {"scale": "fp32"}
    options = {"num_stages": window_triton.STAGES}
    assembly = compile_for(capability, window_triton._kernel, types, fixed, options)
    assert ("mma" in assembly) == (dtype != "fp32")


def pointers(names: str, kind: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), f"*{kind}")


@needs_triton
@pytest.mark.parametrize(
    ("capability", "dtype", "dim"), [(80, "bf16", 64), (86, "fp32", 80), (90, "bf16", 128)]
)
def test_the_others_compile_for_gpus(capability: int, dtype: str, dim: int) -> None:
    tables = {"dim": dim, "block_dim": kernels.triton.next_power_of_2(dim), "block_heads": 16}
    numbers = pointers("given out x y weights states total normed gate_up logits", dtype)
    numbers |= pointers("frequencies cos sin sums", "fp32")
    numbers |= pointers("positions slots entries", "i64") | {"eps": "fp32", "temperature": "fp32"}
    for name, fixed, others in (
        ("_tables", {"block": 128}, {}),
        ("_norms", {"parts": 2, "with_states": True, "block": 4096}, {}),
        ("_add_norm", {"weighted": True, "block": 4096}, {}),
        ("_add_norm", {"weighted": False, "block": 1024}, {}),
        ("_turn", {**tables, "rings": True}, {}),
        ("_turn", {**tables, "rings": False}, pointers("slots entries", "fp32")),
        ("_gated", {"block": 1024}, {}),
        ("_log_sums", {"block": fused_triton.MOST_COLUMNS}, {"out": "*fp32"}),
    ):
        kernel = getattr(rotary_triton if name in ("_tables", "_turn") else fused_triton, name)
        types = {k: v for k, v in (numbers | others).items() if k in kernel.arg_names}
        assert compile_for(capability, kernel, types, fixed, {"num_warps": 4})


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "triton", None)
    with pytest.raises(ImportError, match="gated needs Triton: pip install triton"):
        fused_triton.gated(torch.zeros(1, 2))


def test_who_drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer, where there are no kernels: C++ takes no head as small as the tiny target's."""
    tiny_draft(tmp_path)
    assert bound(tmp_path, {}).model.quick is None
    monkeypatch.setattr(kernels, "runs_on", lambda device: True)
    assert isinstance(bound(tmp_path, {}).model.quick, FusedGlide)


@needs_triton
def test_where_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, others = torch.device("cuda"), [torch.device("cpu"), torch.device("meta")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert kernels.runs_on(gpu)
    assert not any(map(kernels.runs_on, others))
    monkeypatch.setattr(kernels, "triton", None)
    assert not kernels.runs_on(gpu)
