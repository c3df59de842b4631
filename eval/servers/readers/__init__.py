"""What an engine tells about speculation: counters of the server, statistics of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ...records.counters import Counters, SpecStats


class Reader(Protocol):
    """Reads one engine's formats."""

    request: dict[str, Any] | None
    """Fields beside OpenAI's that a request carries, so that the answer tells."""

    def counters(self, exposition: str) -> Counters | None:
        """Sum the text of ``/metrics``; None if the engine's counters are not in it."""

    def of_response(self, extra: dict[str, Any]) -> SpecStats | None:
        """Read the fields beside OpenAI's in the chunks of a response."""

    def of_folder(self, folder: Path) -> dict[str, SpecStats]:
        """Read the files that the server has written of its requests, by request id."""


def reader_of(engine: str) -> Reader:
    """The reader of an engine by name."""
    from .sglang import SglangReader
    from .vllm import VllmReader

    readers: dict[str, type[Reader]] = {"vllm": VllmReader, "sglang": SglangReader}
    return readers[engine]()
