"""What servers write beside their answers: logs, traces of our arms, files of request metrics."""

from __future__ import annotations

import shutil
from itertools import chain, count
from pathlib import Path
from typing import Any

from ..cli.options import Options
from ..numbers.choices import read_choices
from ..numbers.runs import ArmRun
from ..numbers.timesplit import read_cycles
from ..servers import sampling
from ..servers.arms import Arm
from ..servers.logs import undrafted_reasons
from ..servers.readers import reader_of


class ServerFiles:
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
        run.sampling = self.options.sampling
        run.defaults = self._defaults(arm, run)
        run.reasons = undrafted_reasons(self._logs(arm))
        if trace := self.trace(arm):
            run.cycles = read_cycles(trace, run.spans)
            run.choices = read_choices(trace, run.spans)
        if export := self.export(arm):
            found = reader_of(self.options.engine).of_folder(export)
            ours = [record.request_id or "" for record in run.good]
            run.filed = {name: found[name] for name in ours if name in found}

    def _logs(self, arm: Arm) -> list[Path]:
        return [] if arm.urls else sorted(self.folder.glob(f"{arm.name}*.log"))

    def _defaults(self, arm: Arm, run: ArmRun) -> dict[str, Any] | None:
        """The sampling defaults of the served model; None where they cannot be known.

        vLLM logs what it takes over, if anything. What others say is in the model's own folder.
        """
        if not arm.urls and self.options.engine == "vllm":
            return sampling.in_logs(self._logs(arm))
        roots = [window.model_root for window in run.windows if window.model_root]
        return sampling.in_folder(roots[-1] if arm.urls and roots else self.options.model)
