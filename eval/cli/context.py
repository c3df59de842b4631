"""How long a target's context is, by its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def positions(config: Mapping[str, Any]) -> int | None:
    """Its positions, as far as a scaled rotary embedding reaches; None where it tells none."""
    text = {**config, **(config.get("text_config") or {})}
    most = text.get("max_position_embeddings")
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor") or 1
    if not most:
        return None
    if kind in ("linear", "dynamic"):
        return int(most * factor)
    if kind == "yarn":  # some configs tell the positions of the first training
        return max(most, int(rope.get("original_max_position_embeddings", most) * factor))
    return int(most)
