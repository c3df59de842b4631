"""Hydra heads over a transformers target, and product-of-experts (PoE) decoding with them.

``config``, ``cache`` and ``heads`` (with ``weights``) make the ``model``; ``rule`` decides on
drafted tokens, ``draft`` proposes them (``bridge`` stands in for the trunk), and ``poe`` is the
loop.
"""

from .config import HydraConfig
from .folder import load_hydra
from .model import HydraTransformer
from .poe import PoE, PoEOutput

__all__ = ["HydraConfig", "HydraTransformer", "PoE", "PoEOutput", "load_hydra"]
