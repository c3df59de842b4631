"""Command line of the trainer: a recipe file, options over it, or options alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from .run import Trainer
from .settings import TrainSettings


def build_parser() -> argparse.ArgumentParser:
    """One option per field of `TrainSettings`."""
    parser = argparse.ArgumentParser(prog="python -m proposers.train", description=__doc__)
    parser.add_argument("--recipe", type=Path, help="YAML file whose train: section sets defaults")
    for name, field in TrainSettings.model_fields.items():
        default = "required" if field.is_required() else f"default: {field.default}"
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{field.description} ({default})")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Train; exit status 2 for a wrong setting, 130 when stopped by Ctrl-C."""
    given = {k: v for k, v in vars(build_parser().parse_args(argv)).items() if v is not None}
    recipe = given.pop("recipe", None)
    lists = {k: yaml.safe_load(v) for k, v in given.items() if k in ("lag_weights", "tree_shape")}
    try:
        Trainer(TrainSettings.read(recipe, {**given, **lists})).train()
    except ValueError as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
