"""A scripted engine: an OpenAI-compatible server whose every number, and every fault, is known."""

from .script import Answer, Script
from .server import serving
from .sglang import SglangScript

__all__ = ["Answer", "Script", "SglangScript", "serving"]
