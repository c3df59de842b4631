"""The target's head at the rows of trees that the walk visits.

Why: the head of a small model is a fifth of all products of a row or more, and its answers are most
of a step's memory, while a walk looks at a row of each level. How: for such a step
``compute_logits`` keeps the hidden states and hands on logits of no width; our ``_sample`` asks for
rows. Upstream: vLLM computes the logits of all rows before it samples, in 0.32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...trace import Trace


class TreeHead:
    """Stands in for a model's ``compute_logits``.

    Attributes:
        wanted: whether the next logits are those of trees whose rows may be had one by one.
    """

    def __init__(self, model: Any, trace: Trace) -> None:
        self.all_rows: Callable[[Tensor], Tensor] = model.compute_logits
        self.trace = trace
        self.wanted = False
        self._hidden: Tensor | None = None
        model.compute_logits = self.compute_logits

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """``[rows, V]``, or ``[rows, 0]`` where rows come later."""
        later, self.wanted = self.wanted, False
        self._hidden = hidden_states if later else None
        if later:
            return hidden_states.new_empty(len(hidden_states), 0)
        return self.all_rows(hidden_states)

    def later(self) -> Callable[[Tensor], Tensor] | None:
        """From indices of rows ``[n]`` to logits ``[n, V]``; None where all were computed."""
        hidden, self._hidden = self._hidden, None
        if hidden is None:
            return None

        def some_rows(rows: Tensor) -> Tensor:
            with self.trace.section("head"):
                return self.all_rows(hidden[rows])

        return some_rows
