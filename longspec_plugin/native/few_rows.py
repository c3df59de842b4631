"""Matrix products of a few rows at the speed at which weights are read, as an operator.

Why an operator of torch's: the target is compiled, with 121 products a step in the default one.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from proposers import native

from . import avx2_alone

SOURCE = Path(__file__).with_name("few_rows.cpp")
PANEL = 32
TORCH = Path(torch.__file__).parent


@functools.cache
def available() -> bool:
    """Whether this processor has what the kernel is for, and a compiler was found."""
    if not _fits():
        return False
    flags = (f"-I{TORCH / 'include'}", f"-L{TORCH / 'lib'}", "-ltorch_cpu", f"-D{_version()}")
    if native.library(SOURCE, *flags) is None:
        return False
    torch.library.register_fake("longspec::few_rows", lambda out, x, packed, bias: None)
    return True


def _fits() -> bool:
    """AVX2 alone, or AVX-512 BF16. With AMX, and with AVX-512 that makes do with floats, the
    libraries' own are left in place."""
    return avx2_alone() or (
        torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
    )


def _version() -> str:
    """Nothing in the source reads it; what is built for one torch is not loaded into another."""
    return "TORCH_" + "".join(c if c.isalnum() else "_" for c in torch.__version__)


def takes(weight: Tensor) -> bool:
    """Whether ``weight`` (``[N, K]``) can be packed: bfloat16, and float32 with AVX2; ``K`` fills
    the parts evenly."""
    known = weight.dtype == torch.bfloat16 or (weight.dtype == torch.float32 and avx2_alone())
    return known and weight.ndim == 2 and weight.shape[1] % (streams() * per(weight)) == 0


def per(weight: Tensor) -> int:
    """How many weights of a column are side by side: as many as have 4 bytes."""
    return 4 // weight.element_size()


def streams() -> int:
    """In how many parts weights are packed, which are read at once: ``STREAMS`` in C++."""
    return 4 if avx2_alone() else 1


def pack(weight: Tensor) -> Tensor:
    """``[N, K]`` as ``[parts, panels, K / per / parts, 32, per]``.

    What is next along ``K`` is in the next part, and after the last one in the first again; the
    last panel is filled with zeros.
    """
    (rows, width), side, parts = weight.shape, per(weight), streams()
    panels = -(-rows // PANEL)
    filled = torch.nn.functional.pad(weight.detach(), (0, 0, 0, panels * PANEL - rows))
    steps = filled.view(panels, PANEL, width // side // parts, parts, side)
    return steps.permute(3, 0, 2, 1, 4).contiguous()


def multiply(x: Tensor, packed: Tensor, bias: Tensor | None, columns: int) -> Tensor:
    """``x`` ``[.., K]`` by a packed weight of ``columns`` rows, plus ``bias`` ``[columns]``."""
    out = x.new_empty(*x.shape[:-1], columns)  # out here, so that a compiler plans its memory
    torch.ops.longspec.few_rows(out, x, packed, bias)
    return out
