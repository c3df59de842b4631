"""From the command line and a recipe to ``Options``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import UserError, one_line
from .flags import Parser, allowed, flag
from .options import DEFINITIONS, Options


def _shown(value: Any) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, list) else str(value)


def parser() -> argparse.ArgumentParser:
    """Make the parser; values stay text, so that pydantic alone judges them."""
    made = Parser(
        prog="python -m eval.speed_bench",
        description="Serve a model with and without speculation and compare the arms.",
        epilog=DEFINITIONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in Options.model_fields.items():
        text = field.description or ""
        if field.annotation is bool:
            made.add_argument(flag(name), action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        if field.default not in (None, "", []):
            text += f" (default: {_shown(field.default)})"
        made.add_argument(flag(name), metavar="X", default=argparse.SUPPRESS, help=text)
    return made


def _joined(argv: list[str]) -> list[str]:
    """Tie ``--server-args`` to its value, which argparse would take for flags of ours."""
    if "--server-args" not in argv[:-1]:
        return argv
    at = argv.index("--server-args")
    return [*argv[:at], "=".join(argv[at : at + 2]), *argv[at + 2 :]]


def parse(argv: list[str] | None = None) -> Options:
    """Read the command line over the recipe; raise ``UserError`` on the first bad value."""
    given = vars(parser().parse_args(_joined(sys.argv[1:] if argv is None else argv)))
    if "recipe" in given:
        given = {**_recipe(Path(given["recipe"])), **given}
    try:
        return Options(**given)
    except ValidationError as error:
        raise _refused(error, given) from None


def _refused(error: ValidationError, given: dict[str, Any]) -> UserError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if name not in Options.model_fields:
        return UserError(
            f"--recipe: {name} is no option; allowed: {', '.join(Options.model_fields)}"
        )
    value = one_line(str(given.get(name, first["input"])))
    return UserError(f"{flag(name)} {value}: expected {allowed(Options, name) or first['msg']}")


def _recipe(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except RecursionError:
        raise UserError(f"--recipe {path}: cannot be read (nested too deeply)") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--recipe {path}: cannot be read ({one_line(str(error))})") from None
    if not isinstance(found, dict):
        raise UserError(f"--recipe {path}: expected options as NAME: VALUE, a line each")
    arms = found.get("arms")
    for name in arms if isinstance(arms, dict) else ():
        if not isinstance(name, str):
            raise UserError(
                f"--recipe {path}: arms: the name {name!r} is no text; put it in quotes (YAML reads"
                " on, off, yes, no and digits otherwise)"
            )
    return {str(name).replace("-", "_"): value for name, value in found.items()}
