"""The kernels' tests as on processors that this one is not: AVX-512 BF16 with its instructions in
plain C++ (``avx512.h``), AVX2 and SSE by what the compiler may use."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest
import torch

from ..interpreted import passing

HERE = Path(__file__).parent
FLAGS = {
    "AVX512": f"-include {HERE / 'avx512.h'} -Wno-psabi",
    "AVX2": "-march=x86-64-v3",
    "DEFAULT": "-march=x86-64 -Wno-psabi",
}
"""Of the compiler, behind ours, by what torch calls the processor."""
PRODUCTS = "native/test_few_rows.py"
TESTS = ["glide/test_native.py", "plugin/test_cpu_cache.py", "plugin/test_slot_cache.py"]
OURS = torch.backends.cpu.get_cpu_capability()


def is_ours(capability: str) -> bool:
    """Whether the tests themselves run on such a processor."""
    whole = capability != "AVX512" or torch.cpu._is_avx512_bf16_supported()
    return capability == OURS and whole


def compiler(folder: Path, flags: str) -> Path:
    path = folder / "compiler"
    path.write_text(f'#!/bin/sh\nexec {shutil.which("g++")} "$@" {flags}\n')
    path.chmod(0o755)
    return path


@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags are of x86")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("capability", [name for name in FLAGS if not is_ours(name)])
def test_kernels(capability: str, tmp_path: Path) -> None:
    if (capability, OURS) == ("AVX2", "DEFAULT"):
        pytest.skip("this processor has no AVX2")
    tests = TESTS if capability == "DEFAULT" else [PRODUCTS, *TESTS]  # no products of ours with SSE
    env = {"OMP_NUM_THREADS": "1", "LONGSPEC_AS": capability, "LONGSPEC_CACHE": str(tmp_path)}
    env |= {"CXX": str(compiler(tmp_path, FLAGS[capability]))}
    files = [f"tests/unit/{name}" for name in tests]
    told = passing(["-p", "tests.unit.native.as_processor", *files], env)
    print(f"as {capability}: {told.splitlines()[-1]}")
    assert "no kernel for this processor" not in told  # an engine may lack its CPU operators
    assert int(re.findall(r"(\d+) passed", told)[-1]) > 40
    built = {path.name.partition("-")[0] for path in (tmp_path / "native").glob("*.so")}
    assert built == {"glide", "tree_attention"} | ({"few_rows"} if PRODUCTS in tests else set())
