"""``python -m eval.prepare_data NAME``: fetch a data set that is not shipped with the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli.errors import UserError
from .cli.flags import Parser
from .datasets import CONFIGS
from .datasets import fetched as places
from .datasets.fetching import Fetcher, Online
from .datasets.preparing import RECIPES, Wish

ABOUT = """Fetch a data set, for --dataset NAME. Its licence and source are printed first; for
each data set you use, it is on you to check that its licence fits. A fetch that was stopped goes on
where it was. builtin is in the package; sharegpt is not fetched: give --dataset sharegpt:PATH."""


def parser() -> argparse.ArgumentParser:
    """Make the parser."""
    made = Parser(
        prog="python -m eval.prepare_data",
        description=ABOUT,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("name", metavar="NAME", choices=list(RECIPES), help=f"one of {', '.join(RECIPES)}")
    text = f"gets a folder NAME (default: ${places.VARIABLE}, else data)"
    add("--output-dir", type=Path, metavar="DIR", help=text)
    told = "; ".join(f"{name}: {', '.join(several)}" for name, several in CONFIGS.items())
    text = f"which part ({told}) (default: qualitative of speed-bench, all of longbench but v2)"
    add("--config", metavar="X", help=text)
    text = "revision of the data set on the Hugging Face hub (default: %(default)s)"
    add("--revision", default="main", metavar="X", help=text)
    text = "speed-bench: let this copy of the source's own prepare.py do it (default: none)"
    add("--script", type=Path, metavar="FILE", help=text)
    return made


def _checked(argv: list[str] | None) -> argparse.Namespace:
    given = parser().parse_args(argv)
    allowed = CONFIGS.get(given.name, ())
    if given.config and given.config not in allowed:
        has = f"{given.name} has {', '.join(allowed)}" if allowed else "leave it out"
        raise UserError(f"--config {given.config}: unknown; {has}")
    if given.script and given.name != "speed-bench":
        raise UserError(f"--script {given.script}: for speed-bench only; leave it out")
    return given


def prepare(argv: list[str] | None, fetch: Fetcher | None = None) -> None:
    """Fetch what the command line asks for; ``UserError`` tells what could not be."""
    given = _checked(argv)
    home: Path = given.output_dir or places.home()
    recipe = RECIPES[given.name]
    print(f"{given.name}, from {recipe.source}\nlicence: {recipe.license}")
    wish = Wish(
        folder=home / given.name,
        config=given.config,
        revision=given.revision,
        script=given.script,
        fetch=fetch or Online(home / ".downloads"),
        say=lambda line: print(line, flush=True),
    )
    try:
        recipe.make(wish)
    except OSError as error:
        raise UserError(f"{wish.folder}: cannot be written ({error.strerror})") from None
    used = "" if given.output_dir is None else f"{given.name}:{wish.folder}"
    print(f"use it with --dataset {used or given.name}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a mistake or no network, 130 Ctrl-C."""
    try:
        prepare(argv)
        return 0
    except UserError as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "prepare_data: stopped by Ctrl-C; the same command goes on from here", file=sys.stderr
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
