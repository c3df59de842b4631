"""The GPU side of the SGLang adapter, as far as a CPU can tell: SGLang's own decode kernel in
Triton's interpreter, and the bookkeeping in front of its KV move."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("sglang", reason="needs the engine: make setup-sglang")

KERNEL = """
import json
import torch
from longspec_plugin.sglang.device_gpu import GPUTargetKV

torch.manual_seed(0)
worst = 0.0
for heads, kv_heads, dim, width in ((4, 4, 64, 1), (6, 2, 64, 5), (9, 3, 64, 12)):
    keys, values = torch.randn(2, 90, kv_heads, dim)
    table = torch.stack([torch.randperm(90)[:40] for _ in range(5)]).int()
    rows, prefix = torch.tensor([3, 1]), torch.tensor([33, 7])
    query = torch.randn(2, width, heads, dim)
    kv = GPUTargetKV(keys, values, prefix, table, rows, most=45)  # the host may be behind
    assert kv.slots.dtype == torch.int64, kv.slots.dtype
    found = kv.attend(query)
    for b in range(2):
        slots = table[rows[b], : prefix[b]].long()
        k, v = (part[slots].repeat_interleave(heads // kv_heads, 1) for part in (keys, values))
        scores = torch.einsum("whd,shd->hws", query[b].double(), k.double()) * dim**-0.5
        exact = torch.einsum("hws,shd->whd", scores.softmax(-1), v.double())
        worst = max(worst, float((found[b].double() - exact).abs().max()))
print(json.dumps(worst))
"""


def test_the_stock_decode_kernel_reads_the_draft_rows_prefix() -> None:
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", KERNEL]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) < 1e-5


FLAT = """
import torch
from longspec_plugin.sglang import device_gpu
from sglang.kernels.ops.attention import decode_attention

seen = []
kernel = decode_attention.decode_attention_fwd
def watched(query, *rest):
    seen.append(tuple(query.shape))
    kernel(query, *rest)
decode_attention.decode_attention_fwd = watched
keys, values = torch.randn(2, 90, 2, 64)
table, prefix = torch.arange(80).view(2, 40).int(), torch.tensor([33, 7])
kv = device_gpu.GPUTargetKV(keys, values, prefix, table, torch.tensor([1, 0]), most=40)
for width in (1, 12):
    kv.attend(torch.randn(2, width, 6, 64))
assert seen == [(2, 6, 64), (2, 96, 64)], seen  # 36 rows a KV head, padded to 48
"""


def test_a_request_is_one_sequence_to_the_kernel_whatever_its_rows() -> None:
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", FLAT], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]


def test_accepted_rows_become_indices_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from sglang.srt.speculative import spec_utils

    from longspec_plugin.sglang.device_gpu import GPUDevice

    seen: list[Any] = []
    monkeypatch.setattr(
        spec_utils, "move_accept_tokens_to_target_kvcache", lambda *args: seen.extend(args)
    )
    device = GPUDevice(SimpleNamespace(token_to_kv_pool_allocator="pool"))
    rows = torch.tensor([[0, 2, 5], [0, -1, -1], [0, 1, -1]])
    device.move("batch", rows, width=8)
    batch, index, drafts, pool = seen
    assert (batch, pool) == ("batch", "pool")
    assert index.tolist() == [[0, 2, 5], [8, -1, -1], [16, 17, -1]]
    assert drafts.tolist() == [2, 0, 1]
