"""How an engine is started: its command line and its environment, one file per engine."""

from __future__ import annotations

from .base import HOST, Config, Engine
from .sglang import Sglang
from .vllm import Vllm

__all__ = ["HOST", "Config", "Engine", "engine_of"]


def engine_of(name: str) -> Engine:
    """The engine of that name, which ``Options`` has checked."""
    engines: dict[str, type[Engine]] = {"vllm": Vllm, "sglang": Sglang}
    return engines[name]()
