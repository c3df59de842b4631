"""A proposer that knows the answers and hides them in trees, drafting on the device alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from proposers.base import DraftContext, Proposer, TargetModel
from proposers.tree import DraftTrees

PARENTS = [-1, -1, 0, 0, 1, 1, -1]
DEPTHS = [1, 1, 2, 2, 2, 2, 1]
ROOM = 600


class OracleTrees(Proposer):
    """Two children of the root, each with two of its own; the truth is in one of them, or none.
    The other child is the token after the truth: whoever took it for said would not say it again.

    ``answers`` is a file of ``[prompt ids, answer ids]`` pairs.
    """

    max_nodes, max_depth = len(PARENTS), 2

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        pairs = json.loads(Path(options["answers"]).read_text())
        self.known = [prompt + answer for prompt, answer in pairs]

    def bind(self, target: TargetModel, requests: int = 1) -> None:
        self.vocabulary = target.shape.vocab_size
        device = target.embedding.device
        self.texts = torch.zeros(requests, ROOM, dtype=torch.int64, device=device)
        self.parents, self.depths = torch.tensor([PARENTS, DEPTHS], device=device)

    def start(self, context: DraftContext) -> None:
        """Find the text that a request begins with."""
        parts = (context.slots, context.rows, context.lengths)
        for slot, row, length in zip(*(part.tolist() for part in parts), strict=True):
            begun = context.token_ids[row, :length].tolist()
            text = next((text for text in self.known if text[:length] == begun), [])
            self.texts[slot].zero_()
            self.texts[slot, : len(text)] = torch.tensor(text, dtype=torch.int64).to(self.texts)

    def propose(self, context: DraftContext) -> DraftTrees:
        length = context.lengths
        one, two = (self.texts[context.slots, (length + i).clamp(max=ROOM - 1)] for i in (0, 1))
        case = length * 2654435761 % 8  # where the truth lies; in 6 and 7 nowhere
        nodes = torch.arange(self.max_nodes, device=length.device)
        tokens = (one[:, None] * 7 + length[:, None] * 13 + 5 * nodes + 3) % self.vocabulary
        branch, right = case % 2, case < 6
        tokens.scatter_(1, 1 - branch[:, None], two[:, None])
        tokens.scatter_(1, branch[:, None], torch.where(right, one, tokens[:, 6])[:, None])
        child = 2 + 2 * branch + case // 2 % 2
        tokens.scatter_(1, child[:, None], torch.where(case % 3 != 2, two, tokens[:, 6])[:, None])
        batch = len(tokens)
        scores = torch.zeros_like(tokens, dtype=torch.float32)
        sizes = torch.full_like(length, self.max_nodes)
        shape = (self.parents.expand(batch, -1), self.depths.expand(batch, -1))
        return DraftTrees(tokens, *shape, scores, sizes, self.max_depth)
