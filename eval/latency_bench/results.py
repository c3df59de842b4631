"""A run's folder ``<YYYY-MM-DD>_run<NN>``, and its ``results.json``, whole at any time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypedDict

from ..records.folder import writing
from ..records.jsonlog import replace_text
from .stats import CallStats, DecodeStats, GlideStats, PoeStats, TimeStats

SCHEMA_VERSION = 1


class Gamma(TypedDict, total=False):
    """PoE with one gamma.

    ``latency``: of a whole call; with it the tokens it returned and the blocks it verified.
    ``block_ms``: ``(median_ms - TTFT) / blocks``. ``ceiling_tps``: tokens per second of decoding if
    every drafted token were accepted. ``acceptance``: everything of :class:`PoeStats`; missing
    without real heads.
    """

    latency: TimeStats
    block_ms: float | None
    ceiling_tps: float | None
    acceptance: PoeStats


class Row(TypedDict, total=False):
    """One method; what was not measured is missing.

    ``weights``: what they are, for people; ``random_weights``: whether they are. ``note``: why
    something is missing. ``beside``: whole calls of the model alone, timed again after this row.
    """

    weights: str
    random_weights: bool
    note: str
    ttft: TimeStats
    decode: DecodeStats
    call: CallStats | GlideStats
    per_gamma: dict[str, Gamma]
    beside: CallStats


def new_folder(output_dir: Path, today: date) -> Path:
    """Make the next run folder of the day; raise ``UserError`` where that cannot be done."""
    with writing(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        pattern = re.compile(rf"{today.isoformat()}_run(\d+)")
        known = [found for path in output_dir.iterdir() if (found := pattern.fullmatch(path.name))]
        number = 1 + max((int(found.group(1)) for found in known), default=0)
        while True:
            folder = output_dir / f"{today.isoformat()}_run{number:02d}"
            try:
                folder.mkdir()
            except FileExistsError:  # another run has taken it meanwhile
                number += 1
            else:
                return folder


class Book:
    """``results.json`` as it grows."""

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        self.folder = folder
        self.head = dict(head)
        self.rows: dict[str, Row] = {}
        self.complete = False

    @property
    def data(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            "schema_version": SCHEMA_VERSION,
            "complete": self.complete,
            **self.head,
            "rows": self.rows,
        }

    def save(self) -> None:
        """Write the file as a whole."""
        with writing(self.folder):
            replace_text(self.folder / "results.json", json.dumps(self.data, indent=2) + "\n")
