"""What a step costs by context length, against the floor that memory sets; a table and a plot.

    python -m recipes.offline.step                                # default target, this machine
    python -m recipes.offline.step --shapes llama-3-8b            # random weights, needs 20 GB
    python -m recipes.offline.step --shapes llama-3-8b --draft-only

A step is one draft (every level of the tree) and one target forward over all nodes. The floor is
the bytes that a step must read (target's weights and KV once; the draft's weights, head and the
last layer's KV once a level) over the bandwidth of a copy, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from proposers.base import DraftContext, TargetKV, TargetModel
from proposers.glide.checkpoint import expected_shapes, save_glide
from proposers.glide.config import GlideConfig
from proposers.glide.proposer import GlideProposer
from proposers.growth import check_shape
from proposers.offline.attention import NAME
from proposers.offline.loading import target_shape
from proposers.offline.target import LastLayerKV, OfflineTarget

from .common import load, parser, progress, save, show
from .kv import star
from .random_llama import SHAPES, random_draft
from .timing import copy_speed, keep_memory, wall

CURVES = {
    "verify": "target, all nodes",
    "draft": "draft, all levels",
    "own": "draft, not reading the target's KV",
    "floor": "floor of the step",
}


@dataclass
class Subject:
    """What is measured: a proposer, and the target unless the draft alone is wanted."""

    proposer: GlideProposer
    target: OfflineTarget | None
    embedding: Tensor

    def kv_shape(self, context: int) -> tuple[int, ...]:
        target = self.proposer.config.target
        return (2, 1, target.num_key_value_heads, context, target.head_dim)

    def draft_bytes(self) -> int:
        """Read at every level: the layer and the draft's head."""
        draft, width = self.proposer.config, self.embedding.element_size()
        layer = sum(shape.numel() for shape in expected_shapes(draft).values())
        vocabulary = draft.draft_vocab_size or draft.target.vocab_size
        return width * (layer + vocabulary * draft.target.hidden_size)

    def target_bytes(self) -> int:
        return self.target.weight_bytes if self.target else 0


def random_subject(args: argparse.Namespace) -> Subject:
    """A target of a given shape with random weights, and a draft in the published format."""
    dtype, device = getattr(torch, args.dtype), torch.device(args.device)
    torch.set_num_threads(args.threads)
    config = AutoConfig.for_model("llama", **SHAPES[args.shapes], tie_word_embeddings=False)
    glide = GlideConfig.published(config.to_dict(), Path(args.shapes))
    if args.draft_vocab:
        glide = glide.model_copy(update={"draft_vocab_size": args.draft_vocab})
    with tempfile.TemporaryDirectory() as folder:
        save_glide(Path(folder), glide, random_draft(glide, dtype))
        proposer = GlideProposer(Path(folder), {"tree_shape": args.tree_shape})
        if args.draft_only:
            sizes = (config.vocab_size, config.hidden_size)
            shared = (torch.randn(sizes, dtype=torch.float32, device=device) * 0.02).to(dtype)
            norm = torch.ones(config.hidden_size, dtype=dtype, device=device)
            proposer.bind(TargetModel(target_shape(config), shared, shared, norm))
            return Subject(proposer, None, shared)
        with device:
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=NAME)
        target = OfflineTarget(model.eval().requires_grad_(False))
        proposer.bind(target.borrowed())
    return Subject(proposer, target, target.embedding)


def loaded_subject(args: argparse.Namespace) -> Subject:
    model = load(args, getattr(torch, args.dtype))
    target = None if args.draft_only else model.target
    return Subject(model.tree_proposer(args.tree_shape), target, model.target.embedding)


def one_request(length: int, hidden: Tensor, kv: TargetKV, nodes: int) -> DraftContext:
    """A text of random tokens, of which the last is new."""
    ids = torch.randint(0, 1000, (1, length), device=hidden.device)
    one = torch.ones(1, dtype=torch.int64, device=hidden.device)
    first = torch.zeros_like(one)
    return DraftContext(
        slots=first,
        token_ids=ids,
        rows=first,
        lengths=length * one,
        num_new=one,
        most_new=1,
        hidden_states=hidden,
        target_kv=kv,
        budgets=nodes * one,
    )


class NoKV:
    """Nothing to read: what a draft costs without its look at the target's KV."""

    def attend(self, query: Tensor) -> Tensor:
        return query


@torch.inference_mode()
def measure(subject: Subject, context: int, repeats: int, speed: float) -> dict[str, float]:
    """One context length, milliseconds and MiB."""
    like, proposer = subject.embedding, subject.proposer
    device = like.device.type
    kv = torch.randn(subject.kv_shape(context), dtype=like.dtype, device=like.device)
    last = LastLayerKV(kv[0], kv[1], None)
    hidden = torch.randn(1, like.shape[1], dtype=like.dtype, device=like.device)
    request = one_request(context + 1, hidden, last, proposer.max_nodes)
    proposer.start(request)
    draft = wall(lambda: proposer.propose(request), repeats, device)
    blind = replace(request, target_kv=NoKV())
    own = wall(lambda: proposer.propose(blind), repeats, device)
    forward, kv_bytes = _forward(subject, context, repeats)
    levels, one_layer = proposer.max_depth, kv.numel() * kv.element_size()
    needed = subject.target_bytes() + kv_bytes + levels * (subject.draft_bytes() + one_layer)
    held = proposer.window.ring
    return {
        "context": context, "draft": draft, "own": own, "verify": forward,
        "step": draft + forward, "floor": needed / speed, "kv_mib": kv_bytes / 2**20,
        "draft_mib": held.numel() * held.element_size() / held.shape[1] / 2**20,
    }  # fmt: skip


def _forward(subject: Subject, context: int, repeats: int) -> tuple[float, int]:
    """Milliseconds of a forward over all nodes and the bytes of KV behind it."""
    target = subject.target
    if target is None:
        return 0.0, 0
    cache = target.new_cache(1, context)
    cache.storage.normal_()
    cache.lengths = [context]
    root = torch.zeros(1, dtype=torch.long, device=target.device)
    trees = star(1, subject.proposer.max_nodes, target.device)

    def call() -> None:
        cache.held = []
        target.verify(root, trees, cache, None)

    size = cache.storage.numel() * cache.storage.element_size()
    return wall(call, repeats, target.device.type), size


def plot(results: list[dict[str, float]], title: str, path: Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (times, memory) = plt.subplots(1, 2, figsize=(11, 4.2))
    x = [r["context"] for r in results]
    for key, label in CURVES.items():
        if any(r[key] for r in results):
            times.plot(x, [r[key] for r in results], "k--" if key == "floor" else "o-", label=label)
    times.set_ylabel("ms per step")
    for key, label in (("kv_mib", "target's KV cache"), ("draft_mib", "draft's own KV")):
        memory.plot(x, [max(r[key], 1e-3) for r in results], "o-", label=label)
    memory.set_ylabel("MiB per request")
    for axes in (times, memory):
        axes.set(xlabel="tokens of context", xscale="log", yscale="log")
        axes.set_xticks(x, [f"{n:,.0f}" for n in x])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> int:
    options = parser(__doc__, "step")
    options.add_argument("--shapes", choices=sorted(SHAPES), help="random weights of this shape")
    contexts = [128, 512, 2048, 8190]
    options.add_argument("--contexts", type=json.loads, default=contexts, help="JSON list")
    options.add_argument("--tree-shape", type=json.loads, default=[4, 4, 2, 1], help="JSON list")
    options.add_argument("--dtype", default="bfloat16", help=" ")
    whole = "tokens that a random draft may propose (default: all)"
    options.add_argument("--draft-vocab", type=int, help=whole)
    options.add_argument("--draft-only", action="store_true", help="no target forward")
    options.add_argument("--repeats", type=int, default=15, help="timed calls; the median counts")
    args = options.parse_args()
    check_shape(args.tree_shape)
    keep_memory()
    subject = random_subject(args) if args.shapes else loaded_subject(args)
    speed = copy_speed(args.device) * 1e6  # bytes a millisecond
    results = []
    with progress() as bar:
        for context in bar.track(args.contexts, description="contexts"):
            results.append(measure(subject, context, args.repeats, speed))
    name = args.shapes or subject.proposer.config.target.name
    where = "" if args.device == "cuda" else ", on a CPU: not run on a GPU"
    title = f"{name}, tree {args.tree_shape}, {args.dtype}, {args.threads} threads{where}"
    growth = results[-1]["draft"] / results[0]["draft"] - 1
    own = results[-1]["own"] / results[0]["own"] - 1
    show(title, list(results[0]), [tuple(r.values()) for r in results])
    print(f"bandwidth of a copy: {speed / 1e6:.1f} GB/s; draft time from {args.contexts[0]} to"
          f" {args.contexts[-1]} tokens: {growth:+.1%}, without its reading of the target's KV"
          f" {own:+.1%}")  # fmt: skip
    file = f"step_{name}{'_draft' if args.draft_only else ''}"
    result = {"title": title, "bandwidth_gb_s": speed / 1e6, "growth": growth, "results": results}
    path = save(args.output_dir, file, result)
    plot(results, title, path.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
