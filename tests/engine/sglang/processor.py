"""A custom logit processor of SGLang's that reads the text so far."""

from __future__ import annotations

from typing import Any

from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor
from torch import Tensor


class NoEcho(CustomLogitProcessor):  # type: ignore[misc]
    """Forbids the last ``n`` tokens of the answer."""

    def __call__(
        self, logits: Tensor, custom_param_list: list[dict[str, Any]] | None = None
    ) -> Tensor:
        for row, params in zip(logits, custom_param_list or (), strict=True):
            row[list(params["__req__"].output_ids[-params["n"] :])] = float("-inf")
        return logits
