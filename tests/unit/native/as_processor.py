"""A plugin of pytest's: ``LONGSPEC_AS`` is what the processor is taken for, as torch calls it."""

from __future__ import annotations

import os

import torch

AS = os.environ["LONGSPEC_AS"]
torch.backends.cpu.get_cpu_capability = lambda: AS
torch.cpu._is_avx512_bf16_supported = lambda: AS == "AVX512"
torch.cpu._is_amx_tile_supported = lambda: False
