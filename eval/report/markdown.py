"""report.md."""

from __future__ import annotations

import json
import re

from ..cli.options import DEFINITIONS
from ..records.results import Results
from . import matrix
from .tables import Table, lossless, main, sources, warning

_SPECIAL = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|"}
STOPPED = "The run was stopped early; these are its parts."


def plain(text: str) -> str:
    """One line of Markdown in which nothing is markup of HTML or of a table."""
    return re.sub(r"[&<>|]", lambda found: _SPECIAL[found.group()], " ".join(text.split()))


def table(shown: Table | None) -> str:
    """A table; nothing for None."""
    if shown is None:
        return ""
    import pandas as pd  # here, since it is slow to import

    frame = pd.DataFrame.from_dict(
        {plain(name): [plain(cell) for cell in cells] for name, cells in shown.lines.items()},
        orient="index",
        columns=[plain(name) for name in shown.columns],
    )
    return str(frame.to_markdown(disable_numparse=True) or "")


def markdown(results: Results) -> str:
    """The report as Markdown; sections without data are left out."""
    source = json.dumps(results.provenance, indent=2)
    sections = {
        "": table(main(results)),
        "## Acceptance by category": _categories(results),
        "## Acceptance length by source": table(sources(results)),
        "## Answers equal to vanilla's": table(lossless(results)),
        "## Warnings": "\n".join(f"- {plain(warning(w))}" for w in results.warnings) or "None.",
        "## Definitions": f"```\n{DEFINITIONS}\n```",
        "## Provenance": f"```json\n{source}\n```",
    }
    stopped = [] if results.complete else [f"**{STOPPED}**"]
    parts = ["# Speed benchmark", *stopped]
    parts += [f"{title}\n\n{text}".strip() for title, text in sections.items() if text]
    return "\n\n".join(parts) + "\n"


def _categories(results: Results) -> str:
    shown = matrix.table(results)
    return f"{shown.title}.\n\n{table(shown)}" if shown else ""
