"""Real heads for a Hydra: the target's last layers, each fine-tuned a little on other answers.

    python -m recipes.hydra.heads --answers answers.jsonl --output-dir results/hydra-heads

Reads the target's own answers (`python -m proposers.train answers` writes the file). The trunk is
frozen and its states are kept in the output folder. Heads 1 to N-1 verify: each learns from other
categories. Head 0 drafts: it learns from all of them, with a bridge that stands in for the trunk,
so that it can also draft without. Writes head-<i>.safetensors (changed layers, bf16),
bridge.safetensors and index.json, which `proposers.hydra.load_hydra` reads. A run that was stopped
goes on where it was: finished states and heads are not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from proposers.hydra import HydraConfig, HydraTransformer
from proposers.hydra.weights import layer_name
from proposers.pretrained import load_causal_model

from .data import States, read_answers, split, trained_and_held_out
from .training import Plan, fit_bridge, measure, train_head

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    *("heads", "depth", "length", "answers_used", "steps", "draft_steps", "draft_depth"),
    *("batch_size", "learning_rate", "seed"),
)
BRIDGE = "bridge.safetensors"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--answers", type=Path, required=True, help="answers.jsonl of the target")
    made.add_argument("--target", type=Path, help="folder; default: the embedded default target")
    made.add_argument("--output-dir", type=Path, default=ROOT / "results" / "hydra-heads")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, value, text in (
        ("heads", 5, "heads, of which the first drafts"),
        ("depth", 3, "layers of each"),
        ("length", 256, "tokens of prompt and answer that are read"),
        ("answers-used", 400, "of the file, from its start"),
        ("steps", 40, "of each verifying head"),
        ("draft-steps", 200, "of the head that drafts"),
        ("draft-depth", 2, "tokens that it learns to draft without the trunk"),
        ("batch-size", 4, "answers a step"),
        ("seed", 0, "of the batches"),
    ):
        made.add_argument(f"--{name}", type=int, default=value, help=f"{text} (default {value})")
    made.add_argument("--learning-rate", type=float, default=1e-4, help="peak (default 1e-4)")
    return made


class Run:
    """One output folder and what goes into it."""

    def __init__(self, args: argparse.Namespace, target: Path) -> None:
        _check(args)
        self.args, self.folder = args, args.output_dir
        self.config = HydraConfig(args.heads, args.depth)
        answers = read_answers(args.answers, args.length, args.answers_used)
        self.parts = split(answers, args.heads)
        self.held = trained_and_held_out(answers)[1]
        self.answers = answers
        self.settings = _settings(args, target)
        model = load_causal_model(target, torch.float32).to(args.device)
        self.hydra = HydraTransformer.from_target(model, self.config, "target")
        _claim(self.folder, self.settings)
        self.first_layer = model.config.num_hidden_layers - args.depth
        self.states = States(self.folder / "states", self.hydra)

    def run(self, bar: Progress) -> dict[str, Any]:
        """Everything that is not there yet; returns the index, which is written last."""
        for answer in bar.track(self.answers, description="trunk states"):
            self.states.make(answer)
        made = {i: self._head(i, bar) for i in [*range(1, self.config.n_heads), 0]}
        index = {
            "n_heads": self.config.n_heads,
            "heads_depth": self.config.heads_depth,
            "heads": [made[i] for i in range(self.config.n_heads)],
            "bridge": {"file": BRIDGE},
            "made_with": self.settings,
        }
        _write(self.folder / "index.json", index)
        return index

    def _head(self, head: int, bar: Progress) -> dict[str, Any]:
        path = self.folder / f"head-{head}.safetensors"
        if path.exists():
            with safe_open(path, "pt") as file:
                done: dict[str, Any] = json.loads(file.metadata()["head"])
            return done
        learnt = trained_and_held_out(self.parts[head])[0]
        about: dict[str, Any] = {"file": path.name, "answers": len(learnt)}
        about["categories"] = dict(Counter(answer.category for answer in learnt))
        plan = self._plan(head)
        if plan.depth:
            self.hydra.bridge = fit_bridge(self.hydra, head, learnt, self.states)
        about["before"] = measure(self.hydra, head, self.held, self.states, plan.depth)
        task = bar.add_task(f"head {head}", total=plan.steps)
        train_head(self.hydra, head, learnt, self.states, plan, lambda: bar.advance(task))
        about["after"] = measure(self.hydra, head, self.held, self.states, plan.depth)
        if plan.depth and self.hydra.bridge is not None:
            _save(self.folder / BRIDGE, dict(self.hydra.bridge.linear.named_parameters()), {})
        _save(path, self._tensors(head), {"head": json.dumps(about)})
        return about

    def _plan(self, head: int) -> Plan:
        args = self.args
        steps, depth = (args.steps, 0) if head else (args.draft_steps, args.draft_depth)
        return Plan(steps, args.batch_size, args.learning_rate, depth, args.seed + head)

    def _tensors(self, head: int) -> dict[str, Tensor]:
        layers = cast(nn.ModuleList, self.hydra.heads[head])
        return {
            layer_name(self.first_layer + i, name): parameter
            for i, layer in enumerate(layers)
            for name, parameter in layer.named_parameters()
        }


def _check(args: argparse.Namespace) -> None:
    for name in ("length", "answers_used", "steps", "draft_steps", "draft_depth", "batch_size"):
        if getattr(args, name) < 1:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {getattr(args, name)}: expected 1 or more")
    if not args.learning_rate > 0:
        raise ValueError(f"--learning-rate {args.learning_rate}: expected a positive number")


def _settings(args: argparse.Namespace, target: Path) -> dict[str, Any]:
    files = {"answers": args.answers, "target": target / "config.json"}
    sums = {f"{k}_sha256": hashlib.sha256(v.read_bytes()).hexdigest() for k, v in files.items()}
    return {name: getattr(args, name) for name in SETTINGS} | sums


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """A folder belongs to one set of settings, so that its parts fit together."""
    path = folder / "settings.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, settings)
    found = json.loads(path.read_text())
    if wrong := [name for name in settings if found.get(name) != settings[name]]:
        raise ValueError(
            f"{folder} was made with {wrong[0]}={found.get(wrong[0])}, not {settings[wrong[0]]};"
            " give another --output-dir or delete it"
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, path)


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    half = {name: t.detach().bfloat16().cpu().contiguous() for name, t in tensors.items()}
    part = path.with_suffix(".part")
    save_file(half, part, metadata)
    os.replace(part, path)


def show(index: dict[str, Any]) -> None:
    """Held-out loss and right tokens of each head; `+s`: s tokens behind the trunk."""
    table = Table("head", "answers", "loss before", "after", "right before", "after")
    for head in index["heads"]:
        for s in range(len(head["before"]["loss"])):
            name = head["file"].removesuffix(".safetensors") + (f" +{s}" if s else "")
            figures = [head[when][k][s] for k in ("loss", "right") for when in ("before", "after")]
            table.add_row(name, str(head["answers"]), *(f"{x:.3f}" for x in figures))
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        run = Run(args, args.target or _default_target())
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            index = run.run(bar)
    except ValueError as error:
        print(f"heads: error: {error}", file=sys.stderr)
        return 2
    show(index)
    print(f"saved {run.folder}", file=sys.stderr)
    return 0


def _default_target() -> Path:
    """The embedded default, prepared when it is not there yet."""
    sys.path.insert(0, str(ROOT))
    from recipes.setup.target import prepare

    return prepare()


if __name__ == "__main__":
    sys.exit(main())
