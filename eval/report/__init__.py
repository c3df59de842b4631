"""What is written and printed of a run; see docs/reports.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..records.jsonlog import replace_text
from ..records.requests import RequestRecord
from ..records.results import Results
from . import csv, export, html, markdown
from . import nemo as nemo_skills
from .tables import number, rows
from .terminal import print_table

__all__ = ["number", "print_table", "rows", "write"]


def write(
    results: Results,
    records: Sequence[RequestRecord],
    folder: Path,
    *,
    nemo: bool = False,
    kinds: Sequence[str] = (),
) -> None:
    """Write results.json, results.csv, report.md and report.html.

    With ``nemo`` its two as well, and the exports of these ``kinds``.
    """
    replace_text(folder / "results.json", results.model_dump_json(indent=2) + "\n")
    (folder / "results.csv").write_text(csv.text(results), "utf-8")
    (folder / "report.md").write_text(markdown.markdown(results), "utf-8")
    if nemo:
        nemo_skills.write(results, folder)
    export.write(results, folder, list(kinds))
    (folder / "report.html").write_text(html.html(results, records), "utf-8")
