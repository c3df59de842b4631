"""JSON from outside: one error for all that can be wrong with it, and text that can be written."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: for what is no JSON, and for JSON nested more deeply than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def an_object(value: object, what: str) -> dict[str, Any]:
    """``value`` if it is a JSON object; ``ValueError`` names ``what`` is not."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a JSON {type(value).__name__}, not an object")
    return value


def is_writable(*texts: str | None) -> bool:
    """Whether UTF-8 can hold them all."""
    return all(text is None or text == writable(text) for text in texts)


def writable(text: str) -> str:
    """The text with halves of surrogate pairs joined, and lone ones as U+FFFD.

    JSON may hold either as escapes, also in parts of a stream; UTF-8 holds neither.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
