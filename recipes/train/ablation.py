"""Which choice makes a better draft: variants of one training run, at equal cost, in one table.

    python -m recipes.train.ablation --target DIR --features DIR --out DIR --minutes 20

Every variant is trained for the same minutes (or, where other work disturbs the clock, `--epochs`)
on the same features and evaluated on the same held-out answers. Its difference to the base is
paired by answer, with a bootstrap interval. Writes `ablation.md`, `ablation.csv` and
`ablation.png`; a finished variant is not run again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from proposers.train.command import guarded
from proposers.train.evaluate import plots
from proposers.train.evaluate.markdown import table
from proposers.train.evaluate.summary import interval
from proposers.train.features.shards import open_index

from .experiments import Lab, Outcome, Run, as_text, curves, evaluation, millions

BASE = "base"
HEAD = (
    "variant",
    "changes",
    "positions (M)",
    "minutes",
    "AL, chain of 4",
    "AL, 16 nodes",
    "to base",
    "to base, low",
    "to base, high",
    "top-1, lag 1",
    "top-1, lag 4",
    "draft ms, 16 nodes",
)


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


def difference(one: Outcome, base: Outcome) -> tuple[float, float, float]:
    """Mean over answers of the difference in AL, and its 95% bootstrap interval."""
    mine, theirs = one.tree["by_answer"], base.tree["by_answer"]
    each = [mine[name] - theirs[name] for name in theirs]
    return sum(each) / len(each), *interval(each)


def row(one: Outcome, base: Outcome, changes: dict[str, Any]) -> list[Any]:
    """A line of the table, in the order of :data:`HEAD`."""
    text = ", ".join(f"{k} {as_text(v)}" for k, v in changes.items())
    lengths = [one.chain["all"]["mean"], one.tree["all"]["mean"], *difference(one, base)]
    return [
        one.run.name,
        text,
        millions(one.positions),
        f"{one.minutes:.1f}",
        *(f"{x:.3f}" for x in lengths),
        *(f"{one.top1(lag):.3f}" for lag in (1, 4)),
        f"{one.tree['draft_ms']:.1f}",
    ]


def write(folder: Path, about: str, outcomes: list[Outcome], changes: dict[str, Any]) -> None:
    """The table as Markdown, CSV and picture, the best variant first after the base."""
    base = outcomes[0]
    others = sorted(outcomes[1:], key=lambda o: -o.tree["all"]["mean"])
    rows = [row(o, base, changes.get(o.run.name, {})) for o in (base, *others)]
    with open(folder / "ablation.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    lines = ["# Ablation", "", about, "", *table(HEAD, rows), "", "![ablation](ablation.png)"]
    (folder / "ablation.md").write_text("\n".join(lines) + "\n")
    draw(folder / "ablation.png", [base, *others], base)


def draw(path: Path, outcomes: list[Outcome], base: Outcome) -> None:
    """Bars of AL, and the paired differences to the base beside them."""
    names = [o.run.name for o in outcomes]
    rows = range(len(names))

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        for at, one in zip(rows, outcomes, strict=True):
            value = one.tree["all"]["mean"]
            look = plots.colour(6 if one is base else 0)
            left.barh(at, value - 1, left=1, color=look, height=0.7)
            left.annotate(
                f"{value:.2f}", (value, at), (4, 0), textcoords="offset points", va="center"
            )
            mean, low, high = difference(one, base)
            right.plot([low, high], [at, at], color=look, linewidth=5, alpha=0.3)
            right.plot([mean], [at], "o", color=look)
        right.axvline(0, color=plots.MUTED, linewidth=1)
        left.set_yticks(list(rows), names)
        left.set_ylim(len(names) - 0.5, -0.5)
        left.margins(x=0.12)
        left.set(xlim=(1, None), xlabel="acceptance length, tokens per step")
        right.set_xlabel("difference, tokens per step")
        left.set_title("Tree of 16 nodes")
        right.set_title("Difference to base (paired, 95%)")
        for axes in (left, right):
            axes.grid(axis="y", visible=False)

    plots.draw(path, (10, 1.4 + 0.3 * len(names)), paint)


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
