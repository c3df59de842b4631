"""Where the checks of kernels run, and what Triton's interpreter lacks."""

from ..attention.conftest import bfloat16_products, device

__all__ = ["bfloat16_products", "device"]
