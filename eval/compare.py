"""``python -m eval.compare RUN_A RUN_B``: two saved runs beside each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from .cli.errors import UserError, one_line
from .records.jsonlog import JsonLog
from .records.jsontext import parsed
from .records.requests import RequestRecord
from .records.results import SCHEMA_VERSION, Results
from .report.comparison import Comparison, as_html, as_markdown, compare, print_comparison
from .report.differences import Run, common

_WRITERS = {".html": as_html, ".md": as_markdown}


def load(folder: Path) -> Run:
    """A saved run.

    Raises:
        UserError: in one line, where there is none of this schema version.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the --output-dir of a run")
    path = folder / "results.json"
    if not path.is_file():
        raise UserError(f"{folder}: holds no results.json; give the --output-dir of a run")
    results = _results(path, _read(path))
    records = JsonLog(folder / "requests.jsonl", RequestRecord, "another folder").read()
    return Run(str(folder), results, records)


def _read(path: Path) -> Any:
    try:
        return parsed(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(str(error))})") from None


def _results(path: Path, source: Any) -> Results:
    version = source.get("schema_version") if isinstance(source, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: has schema version {version}, only {SCHEMA_VERSION} can be compared;"
            " measure again with this version"
        )
    try:
        return Results.model_validate(source)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {one_line(first['msg'])}") from None


def _comparison(a: Run, b: Run) -> Comparison:
    if not common(a.results, b.results):
        told = (", ".join(arm.label for arm in run.results.arms) or "none" for run in (a, b))
        raise UserError("no arm is in both runs: A has {}; B has {}".format(*told))
    return compare(a, b)


def _write(path: Path, found: Comparison) -> None:
    try:
        path.write_text(_WRITERS[path.suffix](found), "utf-8")
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written ({error.strerror})") from None
    print(f"comparison: {path}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.compare",
        description="Compare two saved runs of speed_bench: numbers of the arms that both have, the"
        " same prompts in both, and what the runs were made with. Exit codes: 0 done, 2 a mistake.",
    )
    parser.add_argument("run_a", metavar="RUN_A", type=Path, help="--output-dir of a run")
    parser.add_argument("run_b", metavar="RUN_B", type=Path, help="--output-dir of another")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it as .html or .md, too")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a user's mistake."""
    options = _parser().parse_args(argv)
    try:
        if options.output and options.output.suffix not in _WRITERS:
            raise UserError(f"--output {options.output}: allowed are names in .html and .md")
        found = _comparison(load(options.run_a), load(options.run_b))
        print_comparison(found, Console())
        if options.output:
            _write(options.output, found)
    except UserError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
