"""A run: row after row on one device, its results on the disk after every measurement."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from datetime import date
from typing import Any

from rich.console import Console

from ..records.folder import writing
from ..records.jsonlog import replace_text
from ..records.provenance import describe
from . import graph, models, rows, table
from .harness import listening
from .options import Options
from .progress import Bar, showing
from .prompts import prompt_of
from .results import Book, new_folder

COMMAND = "eval.latency_bench"


class Runner:
    """One run; what cannot work is refused, as ``UserError``, before its folder is made."""

    def __init__(self, options: Options) -> None:
        self.options = options
        device = models.device_of(options.device)
        prompt = prompt_of(options, models.tokenizer_of(options.target))
        self.prompt = replace(prompt, ids=prompt.ids.to(device))
        self.folder = new_folder(options.output_dir, date.today())
        self.book = Book(self.folder, self._head(models.describe_device(device)))

    def _head(self, device: dict[str, Any]) -> dict[str, Any]:
        options, shape = self.options, self.options.shape
        settings = options.model_dump(mode="json") | {"rows": options.chosen}
        return {
            "provenance": describe(COMMAND, {"seed": options.seed}, dict(os.environ)),
            "settings": settings,
            "device": device,
            "model": {"name": shape.name, "layers": shape.layers, "model_type": shape.model_type},
            "prompt": {"tokens": self.prompt.ids.shape[1], "source": self.prompt.source},
        }

    def run(self) -> int:
        """Measure all rows; whatever ends it, what there is is written and shown."""
        try:
            total = sum(rows.windows(name, self.options) for name in self.options.chosen)
            with showing(total) as bar, listening(bar.hear):
                for name in self.options.chosen:
                    self._row(name, bar)
            self.book.complete = True
        finally:
            self._report()
        return 0

    def _row(self, name: str, bar: Bar) -> None:
        row = self.book.rows[name] = rows.head_of(name, self.options)
        with models.fitting(name):
            for what in rows.measure(name, self.options, self.prompt, row):
                self.book.save()
                bar.say(f"{name}: {what}")
        self.book.save()
        models.free()
        if self.options.repeats_baseline and name != "baseline":
            bar.say(f"{name}: baseline again")
            rows.measure_beside(self.options, self.prompt, row)
            self.book.save()
            models.free()

    def _report(self) -> None:
        """Write and show what was measured; without anything nothing stays."""
        self.book.rows = {name: row for name, row in self.book.rows.items() if "ttft" in row}
        self.book.save()
        if not self.book.rows:
            shutil.rmtree(self.folder)
            return
        data = self.book.data
        with writing(self.folder):
            replace_text(self.folder / "table.md", table.as_markdown(data))
            graph.draw(data, self.folder / "graph.png")
        table.show(data, Console())
        print(f"written to {self.folder}", file=sys.stderr)
