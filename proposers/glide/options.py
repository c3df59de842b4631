"""What a GLIDE proposer can be told, and refusals of what it cannot."""

from __future__ import annotations

import math
from typing import Any

from ..growth import MAX_NODES

OPTIONS = {
    "tree_shape": [4, 4, 2, 1],
    "min_probability": 0.0,
    "nodes": None,
    "temperature": None,
    "int8": None,
}
MAX_GROWN = 1024
"""Most nodes that may be grown where ``nodes`` says how many of them the target verifies."""


def check_nodes(nodes: Any) -> int | None:
    """A budget of nodes, or None for all.

    Raises:
        ValueError: in one line that names the value and what is allowed.
    """
    if nodes is None:
        return None
    if isinstance(nodes, bool) or not isinstance(nodes, int) or not 1 <= nodes <= MAX_NODES:
        raise ValueError(
            f"nodes={nodes!r}: allowed are whole numbers from 1 to {MAX_NODES},"
            " or null for all of tree_shape"
        )
    return nodes


def check_temperature(value: Any) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ValueError(
            f"temperature={value!r}: allowed are numbers above 0 (1 leaves the draft's"
            " probabilities as they are), or null for the draft's own"
        )
    return float(value)


def check_int8(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"int8={value!r}: allowed are true, false, or null (where it is quicker)")
    return value


def log_of(probability: Any) -> float:
    if isinstance(probability, bool) or not isinstance(probability, int | float):
        raise ValueError(f"min_probability={probability!r}: expected a number from 0 up to 1")
    if not 0 <= probability < 1:
        raise ValueError(f"min_probability={probability!r}: allowed are numbers from 0 up to 1")
    return math.log(probability) if probability else -math.inf
