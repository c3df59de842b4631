"""Our own sets for work that repeats: edits, JSON extraction, questions about long documents.

``python -m recipes.eval.sets FOLDER`` writes them as JSON lines, which ``--dataset`` reads. They
are made from what stands here, alike in every run, and were never trained on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from . import documents, edits, extraction
from .rows import Row

SETS: dict[str, Callable[[], Iterator[Row]]] = {
    "edits": edits.rows,
    "json": extraction.rows,
    "documents": documents.rows,
}


def write(folder: Path) -> dict[str, Path]:
    """Write all sets to ``folder``; returns the file of each."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.jsonl" for name in SETS}
    for name, rows in SETS.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows()]
        files[name].write_text("".join(lines), "utf-8")
    return files
