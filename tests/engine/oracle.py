"""A proposer that knows the answers, and so how many of its tokens every step will accept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from proposers.base import HostProposer

DEPTH = 4
RIGHT = (2, 0, 4, 1, 3, 0, 1)  # tokens that are right, by how many have been generated


def right(generated: int) -> int:
    """Right tokens at the head of the chain that is drafted then."""
    return RIGHT[generated % len(RIGHT)]


class Oracle(HostProposer):
    """Chains of ``DEPTH`` tokens; ``answers`` is a file of ``[prompt ids, answer ids]`` pairs."""

    max_depth = max_nodes = DEPTH

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        self.answers = json.loads(Path(options["answers"]).read_text())

    def draft(self, tokens: np.ndarray, budget: int) -> tuple[list[int], list[int]]:
        chain = self._draft(tokens.tolist())[:budget]
        return chain, list(range(-1, len(chain) - 1))

    def _draft(self, tokens: list[int]) -> list[int]:
        """Right tokens, then wrong ones; only wrong ones for a prompt that is not known."""
        for prompt, answer in self.answers:
            if tokens[: len(prompt)] == prompt:
                done = len(tokens) - len(prompt)
                ahead = answer[done : done + right(done)]
                true = answer[done + len(ahead) : done + DEPTH]
                wrong = [(token + 1) % 1000 for token in true]
                return ahead + wrong + [0] * (DEPTH - len(ahead) - len(wrong))
        return [0] * DEPTH


def steps_of(length: int) -> list[int]:
    """Accepted tokens of each step until ``length`` tokens are there, the first from the prefill.

    The last step accepts what its draft has right, also past the end.
    """
    done, accepted = 1, []
    while done < length:
        accepted.append(right(done))
        done += 1 + accepted[-1]
    return accepted
