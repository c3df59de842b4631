"""Prompts to measure on: ``load`` reads a data set, ``spread`` takes an even share of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from ..cli.errors import UserError
from . import aime, builtin, humaneval, longbench, questions, recognise, sharegpt
from . import fetched as places
from . import speed_bench as speed
from .prompt import Prompt
from .recognise import OfRows
from .rows import file_of, filled

__all__ = ["CONFIGS", "NAMES", "Prompt", "chosen", "load", "spread"]

_FOLDERS: dict[str, Callable[[Path, str | None], list[Prompt]]] = {
    speed.NAME: speed.load,
    longbench.NAME: longbench.load,
}
_FILES: dict[str, tuple[OfRows, tuple[str, ...]]] = {
    "spec-bench": (questions.of_rows, questions.FILES),
    "mt-bench": (questions.of_rows, questions.FILES),
    "aime": (aime.of_rows, aime.FILES),
    "humaneval": (humaneval.of_rows, humaneval.FILES),
    "sharegpt": (sharegpt.of_rows, sharegpt.FILES),
}
NAMES = ("builtin", *_FOLDERS, *_FILES)
CONFIGS = {
    speed.NAME: (*speed.CONFIGS, "all"),
    longbench.NAME: (*longbench.ALL, longbench.V2, "all"),
}
"""What ``--config`` takes, for the data sets that have several parts."""


def load(name: str, config: str | None = None) -> list[Prompt]:
    """Read a data set by ``NAME``, ``NAME:PATH`` or ``PATH``.

    A name alone means our own prompts, or a copy that ``prepare_data`` has fetched. What a path
    alone holds is told by its fields. Raises ``UserError``, one line, for whatever is wrong.
    """
    known, _, given = name.partition(":")
    if known not in NAMES:
        return _path(name, config)
    _check(known, config)
    if known == "builtin":
        if given:
            raise UserError(f"--dataset {name}: builtin takes no path; leave {given} out")
        return builtin.load()
    return _named(known, Path(given) if given else None, config)


def _check(name: str, config: str | None) -> None:
    allowed = CONFIGS.get(name, ())
    if config is None or config in allowed:
        return
    if not allowed:
        raise UserError(f"--config {config}: {name} is in one part; leave it out")
    raise UserError(f"--config {config}: unknown; {name} has {', '.join(allowed)}")


def _named(name: str, given: Path | None, config: str | None) -> list[Prompt]:
    if given and not given.exists():
        raise UserError(f"--dataset {name}:{given}: no such file or folder")
    path = given or places.home() / name
    if name in _FOLDERS:
        return _FOLDERS[name](path, config)
    of_rows, files = _FILES[name]
    if given is None and not any((path / file).is_file() for file in files):
        path = _missing(name, path)
    return of_rows(filled(file_of(path, *files)))


def _missing(name: str, path: Path) -> Path:
    """Another place to read from; raises ``UserError`` where there is none."""
    if name == "humaneval":
        return humaneval.installed()
    run = "" if name == "sharegpt" else f"run {places.command(name)}, or "
    raise UserError(f"--dataset {name}: nothing in {path}; {run}give --dataset {name}:PATH")


def _path(name: str, config: str | None) -> list[Prompt]:
    path = Path(name)
    if path.is_dir():
        known, path = recognise.folder(path)
        if known:
            _check(known, config)
            return _FOLDERS[known](path, config)
    if not path.is_file():
        raise UserError(
            f"--dataset {name}: no such file; give {', '.join(NAMES)}, NAME:PATH or the path of a"
            " data file"
        )
    if config:
        raise UserError(f"--config {config}: {path} is a single file; leave it out")
    rows = filled(path)
    return recognise.reader(rows[0])(rows)


def chosen(prompts: Sequence[Prompt], categories: str | None) -> list[Prompt]:
    """Keep the prompts of the comma-separated categories; all of them if None."""
    if categories is None:
        return list(prompts)
    there = dict.fromkeys(prompt.category for prompt in prompts)
    names = categories.split(",")
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"--categories {unknown[0]}: unknown; the data set has {', '.join(there)}")
    return [prompt for prompt in prompts if prompt.category in names]


def spread(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """Take ``count`` prompts, one of each category in turn; all of them if None."""
    if count is not None and count > len(prompts):
        raise UserError(
            f"--num-prompts {count}: the data set has {len(prompts)} prompts;"
            f" give 1 to {len(prompts)}"
        )
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.category, []).append(prompt)
    dealt = chain.from_iterable(zip_longest(*groups.values()))
    return [prompt for prompt in dealt if prompt is not None][:count]
