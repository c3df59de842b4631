"""A scripted engine: an OpenAI-compatible server whose every number, and every fault, is known."""

from .script import Answer, BaseScript
from .server import serving
from .sglang import SglangScript
from .vllm import Script

__all__ = ["Answer", "BaseScript", "Script", "SglangScript", "serving"]
