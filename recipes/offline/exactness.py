"""Tree = chain = vanilla, token for token, over many prompts, alone and in ragged batches.

    python -m recipes.offline.exactness --prompts 208 --dtype float32 --batch 8

Exit status 1 if an answer differs; the differing prompts are in the saved file.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

from proposers import GlideModel

from .common import (
    batches,
    chat_prompts,
    default_target,
    load,
    padded,
    parser,
    progress,
    save,
    show,
)

EOS = 2  # <|im_end|> of the default target


def compare(model: GlideModel, group: list[list[int]], args: Any) -> list[dict[str, Any]]:
    """One record per prompt of a batch."""
    ids, lengths = padded(group)
    plain = model.decode(None, ids, lengths, args.tokens, EOS)
    chain = model.decode(model.tree_proposer([1] * args.gamma), ids, lengths, args.tokens, EOS)
    tree = model.decode(model.tree_proposer(args.tree_shape), ids, lengths, args.tokens, EOS)
    return [
        {
            "tokens": int(plain.lengths[row]),
            "chain_same": torch.equal(plain.output_ids[row], chain.output_ids[row]),
            "tree_same": torch.equal(plain.output_ids[row], tree.output_ids[row]),
            "chain": [int(chain.accepted[row]), int(chain.steps[row])],
            "tree": [int(tree.accepted[row]), int(tree.steps[row])],
        }
        for row in range(len(group))
    ]


def acceptance_length(records: list[dict[str, Any]], kind: str) -> float:
    accepted, steps = (sum(record[kind][i] for record in records) for i in (0, 1))
    return 1 + accepted / max(steps, 1)


def main() -> int:
    options = parser(__doc__, "exactness")
    options.add_argument("--prompts", type=int, default=208, help="at most 264")
    options.add_argument("--tokens", type=int, default=48, help="new tokens of each answer")
    options.add_argument("--batch", type=int, default=8, help="prompts decoded together")
    options.add_argument("--dtype", choices=["float32", "float64"], default="float32", help=" ")
    options.add_argument("--gamma", type=int, default=4, help="length of the chain")
    options.add_argument("--tree-shape", type=json.loads, default=[4, 4, 2, 1], help="JSON list")
    args = options.parse_args()
    model = load(args, getattr(torch, args.dtype))
    prompts = chat_prompts(args.model or default_target(), args.prompts)
    records: list[dict[str, Any]] = []
    with progress() as bar:
        for group in bar.track(batches(prompts, args.batch), description="batches"):
            records += compare(model, group, args)
    same = [sum(record[f"{kind}_same"] for record in records) for kind in ("chain", "tree")]
    als = [acceptance_length(records, kind) for kind in ("chain", "tree")]
    title = f"{args.dtype}, batch {args.batch}, {len(records)} prompts x {args.tokens} tokens"
    rows = [("chain", same[0], als[0]), (f"tree {args.tree_shape}", same[1], als[1])]
    show(title, ("", "same as vanilla", "AL"), rows)
    name = f"{args.dtype}_batch{args.batch}"
    save(args.output_dir, name, {"title": title, "same": same, "al": als, "records": records})
    return int(min(same) < len(records))


if __name__ == "__main__":
    sys.exit(main())
