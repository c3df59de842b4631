"""``python -m eval.speed_bench``: serve a target with and without speculation, and compare."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from . import checks, server
from .arms import Arm, parse_arms
from .checks import writing
from .console import Show, showing
from .datasets import Prompt, chosen, load, spread
from .engines import engine_of
from .errors import Terminated, UserError
from .guards import Warned, inspect
from .options import Options, parse
from .provenance import collect
from .records import RecordFile, RequestRecord
from .report import Results, print_table, write
from .runs import ArmRun
from .summary import summarise
from .timesplit import read_cycles
from .window import Window


class Bench:
    """A run of the command: all arms, all rounds."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.arms = _arms(options)
        self.prompts = spread(
            chosen(load(options.dataset), options.categories), options.num_prompts
        )
        checks.check(options, self.arms)
        self.port = None if options.base_url else server.choose_port(options.port)
        source = options.metrics_source
        self.runs = {arm.name: ArmRun(arm.name, arm.depth, source) for arm in self.arms}
        self.too_long: dict[str, list[str]] = {}
        commands = {arm.name: self._shown_command(arm) for arm in self.arms if self.port}
        self.provenance = collect(options, commands, server.environment(options))
        with writing(options.output_dir):
            self.file = RecordFile(options.output_dir / "requests.jsonl")
        for arm in self.arms:  # an earlier run's logs would be taken for this one's
            for old in (options.output_dir / "logs").glob(f"{arm.name}.*"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()

    def run(self) -> None:
        """Measure, and write what there is even when stopped early."""
        complete = False
        try:
            for round_ in range(self.options.rounds):
                for arm in self.arms:
                    self._round(arm, round_)
            complete = True
        finally:
            if any(run.records for run in self.runs.values()):
                self._report(complete)

    def _command(self, arm: Arm, round_: int) -> list[str]:
        return server.command(self.options, arm, self.port or 0, self._export(arm, round_))

    def _shown_command(self, arm: Arm) -> list[str]:
        """The command of the first round, with the variables that belong to the arm."""
        variables = engine_of(self.options.engine).variables(arm.config)
        env = (
            ["env", *(f"{name}={value}" for name, value in variables.items())] if variables else []
        )
        return env + self._command(arm, 0)

    def _round(self, arm: Arm, round_: int) -> None:
        many = self.options.rounds > 1
        label = f"{arm.name} {round_ + 1}/{self.options.rounds}" if many else arm.name
        turns = sum(len(prompt.turns) for prompt in self.prompts)
        with showing(label, turns) as show, self._server(arm, round_, show) as running:
            export = self._export(arm, round_)
            window = Window(self.options, running, self.runs[arm.name], round_, export)
            prompts, long = window.fitting(self.prompts)
            if long:
                self.too_long[arm.name] = long
            show.status("warming up")
            window.warm_up()
            self._measure(arm, window, prompts, show)

    def _measure(self, arm: Arm, window: Window, prompts: list[Prompt], show: Show) -> None:
        trace = self._trace(arm)
        start = trace.stat().st_size if trace and trace.is_file() else 0

        def done(record: RequestRecord) -> None:
            with writing(self.options.output_dir):
                self.file.append(record)
            show.advance(record.error or record.prompt_id, record.completion_tokens)

        show.start_clock()
        try:
            window.measure(prompts, done)
        finally:
            if trace:
                self.runs[arm.name].cycles += read_cycles(trace, start)

    def _trace(self, arm: Arm) -> Path | None:
        if not (self.options.trace and arm.ours):
            return None
        return self.options.output_dir / "logs" / f"{arm.name}.trace.jsonl"

    def _export(self, arm: Arm, round_: int) -> Path | None:
        """Where the server writes a line per request, if anywhere."""
        if self.options.base_url:
            return self.options.metrics_file_dir
        return self._log(arm, round_, "metrics") if self.options.metrics_source == "file" else None

    def _log(self, arm: Arm, round_: int, kind: str) -> Path:
        later = f".{round_ + 1}" if round_ else ""
        return self.options.output_dir / "logs" / f"{arm.name}{later}.{kind}"

    @contextmanager
    def _server(self, arm: Arm, round_: int, show: Show) -> Iterator[server.Server]:
        if self.options.base_url:
            yield server.Server(checks.base_address(self.options.base_url))
            return
        # Asked for again in each round: the port may have been taken since.
        self.port = server.choose_port(self.options.port)
        log = self._log(arm, round_, "log")
        env = server.environment(self.options, arm, self._trace(arm))
        line, wait = self._command(arm, round_), self.options.startup_timeout
        try:
            with server.running(line, env, log, self.port, wait, show.status) as running:
                yield running
        except UserError as error:
            raise UserError(f"arm {arm.name}: {error}") from None

    def _report(self, complete: bool) -> None:
        runs = [run for run in self.runs.values() if run.records]
        vanilla = self.runs.get("vanilla") if not self.options.base_url else None
        results = Results(
            complete=complete,
            arms=[summarise(run, vanilla) for run in runs],
            warnings=self._warnings(runs),
            provenance=self.provenance,
        )
        with writing(self.options.output_dir):
            write(results, self.options.output_dir)
        print_table(results, Console())
        print(f"written to {self.options.output_dir}", file=sys.stderr)

    def _warnings(self, runs: list[ArmRun]) -> list[Warned]:
        long = [
            Warned(
                name="prompt_too_long",
                arm=arm,
                message=f"{len(ids)} of {len(self.prompts)} prompts do not fit the context beside"
                f" --output-len and were not sent: {', '.join(ids)}",
            )
            for arm, ids in self.too_long.items()
        ]
        return long + [warned for run in runs for warned in inspect(run)]


def _arms(options: Options) -> list[Arm]:
    """With ``--base-url`` an arm is only a name: the server has its configuration already."""
    if options.base_url is None:
        return parse_arms(options)
    return [Arm(name) for name in (options.arms or "server").split(",")]


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(signal.Signals(number).name)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a user's mistake, 130 Ctrl-C, 143 terminated."""
    before: dict[Any, Any] = {}
    try:
        for kind in (signal.SIGTERM, signal.SIGHUP):
            before[kind] = signal.signal(kind, _terminate)
        bench = Bench(parse(argv))
        bench.run()
        return 0 if any(run.good for run in bench.runs.values()) else 1
    except UserError as error:
        print(f"speed_bench: {error}", file=sys.stderr)
        return 2
    except Terminated as error:
        print(f"speed_bench: stopped by {error}; servers are down", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("speed_bench: stopped by Ctrl-C; servers are down", file=sys.stderr)
        return 130
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


if __name__ == "__main__":
    sys.exit(main())
