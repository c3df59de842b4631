"""A prompt of a set, as ``eval.datasets`` reads it from plain JSON lines."""

from __future__ import annotations

Row = dict[str, str]
"""``id``, ``category`` and ``prompt``."""
