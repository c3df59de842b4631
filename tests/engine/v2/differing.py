"""A proposer in Python that knows the answers, and whose processes do not propose the same tree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed

from proposers.base import HostProposer


class DifferingTrees(HostProposer):
    """The truth is the first branch on the first rank, on others the second.

    ``answers`` is a file of ``[prompt ids, answer ids]`` pairs.
    """

    max_nodes, max_depth = 4, 2

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        pairs = json.loads(Path(options["answers"]).read_text())
        self.known = [prompt + answer for prompt, answer in pairs]

    def draft(self, tokens: np.ndarray, budget: int) -> tuple[list[int], list[int]]:
        known = (text for text in self.known if text[: len(tokens)] == tokens.tolist())
        one, two, *_ = [*next(known, [])[len(tokens) :], 0, 0]
        nodes, parents = [one, one + 1, two, two + 1], [-1, -1, 0, 0]
        if distributed.get_rank():
            nodes, parents = [one + 1, one, two + 1, two], [-1, -1, 0, 1]
        return nodes[:budget], parents[:budget]
