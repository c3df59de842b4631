"""Which choice makes a better draft: variants of one training run, at equal cost, in one table.

    python -m recipes.train.ablation --target DIR --features DIR --out DIR --minutes 20

Every variant is trained for the same minutes (or, where other work disturbs the clock, `--epochs`)
on the same features and evaluated on the same held-out answers. Its difference to the base is
paired by answer, with a bootstrap interval. Writes `ablation.md`, `ablation.csv` and
`ablation.png`; a finished variant is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from proposers.train import provenance
from proposers.train.command import guarded
from proposers.train.evaluate.ablation import Ablation, Variant
from proposers.train.features.shards import open_index

from .experiments import Lab, Outcome, Run, curves, evaluation, millions

BASE = "base"


def read_variants(path: Path, chosen: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The base's settings, and what each variant (or each of ``chosen``) changes.

    Raises:
        ValueError: one line, for another file or an unknown variant.
    """
    try:
        data = yaml.safe_load(path.read_text())
        base, variants = dict(data["base"] or {}), dict(data["variants"] or {})
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected base: and variants: with settings ({reason})") from None
    if unknown := [name for name in chosen if name not in variants]:
        raise ValueError(f"variant {unknown[0]!r} is unknown; allowed: {', '.join(variants)}")
    return base, {name: variants[name] for name in chosen or variants}


def variant(one: Outcome, changes: dict[str, Any]) -> Variant:
    """A line of the table."""
    return Variant(
        one.run.name,
        provenance.as_text(changes),
        {"16 nodes": one.tree["all"]["mean"], "chain of 4": one.chain["all"]["mean"]},
        one.tree["by_answer"],
        {
            **{f"top-1, lag {lag}": f"{one.top1(lag):.3f}" for lag in (1, 4)},
            "draft ms, 16 nodes": f"{one.tree['draft_ms']:.1f}",
            "positions (M)": millions(one.positions),
            "minutes": f"{one.minutes:.1f}",
        },
    )


def write(folder: Path, about: str, outcomes: list[Outcome], changes: dict[str, Any]) -> None:
    """The table as Markdown, CSV and picture, the best variant first after the base."""
    found = Ablation([variant(o, changes.get(o.run.name, {})) for o in outcomes])
    found.save(folder)
    lines = ["# Ablation", "", about, "", *found.markdown(), "", "![ablation](ablation.png)"]
    (folder / "ablation.md").write_text("\n".join(lines) + "\n")


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=20.0, help="of training, for each (20)")
    options.add_argument("--epochs", type=float, help="equal passes over the data instead")
    options.add_argument(
        "--variants", type=Path, default=Path(__file__).with_name("variants.yaml"), help="YAML file"
    )
    options.add_argument("--only", default="", help="names of variants, with commas between")
    args = options.parse_args(argv)
    return guarded("ablation", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    base, variants = read_variants(args.variants, [n for n in args.only.split(",") if n])
    budget = {"epochs": args.epochs} if args.epochs else {"minutes": args.minutes}
    shared = {**base, **budget}
    every = {BASE: shared, **{name: {**shared, **new} for name, new in variants.items()}}
    stored = open_index(args.features).top
    runs = [Run(name, one) for name, one in every.items() if one.get("top_k", 0) <= stored]
    if missing := every.keys() - {run.name for run in runs}:
        names = ", ".join(sorted(missing))
        print(f"ablation: the features hold {stored} logits; left out: {names}", file=sys.stderr)
    outcomes = lab(args).perform(runs, args.workers, _share)
    if not outcomes or outcomes[0].run.name != BASE:
        print("ablation: error: the base did not finish, see its log.txt", file=sys.stderr)
        return 1
    amount = f"{args.epochs:g} epochs" if args.epochs else f"{args.minutes:g} minutes"
    about = (
        f"{amount} of training for each; AL is simulated on"
        f" {outcomes[0].tree['all']['answers']} held-out answers, mean over answers."
    )
    write(args.out, about, outcomes, variants)
    print((args.out / "ablation.md").read_text())
    return 0 if len(outcomes) == len(runs) else 1


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that experiments share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--target", type=Path, required=True, help="folder of the target")
    made.add_argument("--features", type=Path, required=True, help="folder of its features")
    made.add_argument("--out", type=Path, required=True, help="folder of all runs and the table")
    made.add_argument("--sequences", type=int, default=96, help="answers to evaluate on (96)")
    made.add_argument("--tokens", type=int, default=128, help="first tokens of each (128; 0: all)")
    made.add_argument("--workers", type=int, default=1, help="runs at a time (1)")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of each (1)")
    return made


def lab(args: argparse.Namespace) -> Lab:
    evaluate = evaluation(args.sequences, args.tokens, every=False)
    return Lab(args.target, args.features, args.out, args.threads, evaluate)


def _share(run: Run, state: Path) -> float:
    rows = curves(state)
    if not rows or "minutes" not in run.settings:
        return 0.0
    return min(1.0, rows[-1]["seconds"] / 60 / run.settings["minutes"])


if __name__ == "__main__":
    sys.exit(main())
