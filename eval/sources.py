"""What servers write beside their answers: logs, traces of our arms, files of request metrics."""

from __future__ import annotations

import shutil
from itertools import chain, count
from pathlib import Path

from .arms import Arm
from .options import Options
from .readers import reader_of
from .runs import ArmRun
from .timesplit import read_cycles


class Sources:
    """Files below ``logs`` of the output folder; an earlier run's are removed if ``fresh``."""

    def __init__(self, options: Options, fresh: bool) -> None:
        self.options, self.folder = options, options.output_dir / "logs"
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)

    def new_log(self, arm: Arm) -> Path:
        """``ARM.log``, then ``ARM.2.log``: a later round or a resumed run replaces none."""
        names = chain([f"{arm.name}.log"], (f"{arm.name}.{n}.log" for n in count(2)))
        return next(path for name in names if not (path := self.folder / name).exists())

    def trace(self, arm: Arm) -> Path | None:
        """Where a longspec arm appends its cycles, if asked for."""
        wanted = self.options.trace and arm.ours
        return self.folder / f"{arm.name}.trace.jsonl" if wanted else None

    def export(self, arm: Arm) -> Path | None:
        """Where the server appends a line per request, if anywhere."""
        if arm.urls:
            return self.options.metrics_file_dir
        wanted = self.options.metrics_source == "file"
        return self.folder / f"{arm.name}.metrics" if wanted else None

    def read(self, arm: Arm, run: ArmRun) -> None:
        """Add what was written of the run; warm-ups and strangers have other ids and times."""
        if trace := self.trace(arm):
            run.cycles = read_cycles(trace, run.spans)
        if export := self.export(arm):
            found = reader_of(self.options.engine).of_folder(export)
            ours = [record.request_id or "" for record in run.good]
            run.filed = {name: found[name] for name in ours if name in found}
