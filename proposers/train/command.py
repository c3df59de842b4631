"""What the commands share: options made from a section's fields, errors in one line, Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from safetensors import SafetensorError

from .recipe import Section

Settings = TypeVar("Settings", bound=Section)


def run_command(
    settings: type[Settings], work: Callable[[Settings], None], argv: list[str], doc: str | None
) -> int:
    """Read the options and do the work; returns the exit status of :func:`guarded`."""
    given = {
        k: v for k, v in vars(_parser(settings, doc).parse_args(argv)).items() if v is not None
    }
    recipe = given.pop("recipe", None)
    asked = {k: _value(settings, k, v) for k, v in given.items()}
    return guarded(settings.section, lambda: work(settings.read(recipe, asked)))


def guarded(name: str, work: Callable[[], int | None]) -> int:
    """Do the ``work`` of a command called ``name``.

    Returns:
        the exit status: what ``work`` says (None: 0), 2 for a user's mistake or a disk's
        (``ValueError``, ``OSError``, a torn file; told in one line), 130 after Ctrl-C.
    """
    try:
        return work() or 0
    except (ValueError, OSError, SafetensorError) as error:
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser(settings: type[Section], doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m proposers.train {settings.section}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        help=f"YAML file whose {settings.section}: section sets defaults",
    )
    for name, field in settings.model_fields.items():
        text = field.description or ""
        if field.is_required():
            text += " (required)"
        elif "(default" not in text:
            text += f" (default: {field.default})"
        flag = field.annotation is bool
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if flag else {}
        parser.add_argument(f"--{name.replace('_', '-')}", help=text.replace("%", "%%"), **switch)
    return parser


def _value(settings: type[Section], name: str, text: str) -> Any:
    """Text for fields that hold text, else what YAML reads (numbers, lists, true, null)."""
    kind = settings.model_fields[name].annotation
    if get_origin(kind) is not dict and {str, Path} & {kind, *get_args(kind)}:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
