"""Drives a run: all rounds, arms and conditions, each on its servers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console

from ..cli.errors import UserError
from ..cli.options import Options
from ..cli.progress import Show, showing
from ..cli.sweep import Condition, Place, label
from ..datasets import Prompt, chosen, load, spread
from ..records.folder import writing
from ..records.journal import Journal, Key
from ..records.provenance import of_bench
from ..records.requests import ControlRecord, RequestRecord
from ..records.windows import WindowRecord
from ..report import print_table, write
from ..servers import server
from ..servers.addresses import foreign
from ..servers.arms import Arm, parse_arms
from ..servers.engines import engine_of
from . import checks, stopping
from .collect import collect
from .control import control, wanted
from .server_files import ServerFiles
from .window import Window


class Bench:
    """A run of the command: all rounds, arms and conditions that are not on disk yet."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.arms = parse_arms(options)
        found = load(options.dataset, options.config)
        self.prompts = spread(chosen(found, options.categories), options.num_prompts)
        checks.check(options, self.arms)
        self.port = server.choose_port(options.port) if self._own_arms() else None
        with writing(options.output_dir):
            self.journal = Journal(options)
            self.files = ServerFiles(options, fresh=not self.journal.records)
            self.journal.start()
        commands = {arm.name: self._shown_command(arm) for arm in self._own_arms()}
        self.provenance = of_bench(options, commands, server.environment(options))

    def run(self) -> None:
        """Measure, and write what there is even when stopped early."""
        complete = False
        try:
            for round_ in range(self.options.rounds):
                for prompts in self._turns():
                    for arm in self.arms:
                        self._round(arm, round_, prompts)
            complete = True
        finally:
            if self.journal.records:
                self._report(complete)

    def _turns(self) -> Iterator[list[Prompt]]:
        """The prompts that one arm answers before it is the next one's turn."""
        size = self.options.turn or max(len(self.prompts), 1)
        for start in range(0, len(self.prompts), size):
            yield self.prompts[start : start + size]

    def _own_arms(self) -> list[Arm]:
        return [arm for arm in self.arms if not arm.urls]

    def _shown_command(self, arm: Arm) -> list[str]:
        """The command of the first round, with the variables that belong to the arm."""
        variables = engine_of(self.options.engine).variables(arm.config)
        env = ["env", *(f"{name}={value}" for name, value in variables.items())]
        line = server.command(self.options, arm, self.port or 0, self.files.export(arm))
        return env * bool(variables) + line

    def _round(self, arm: Arm, round_: int, prompts: Sequence[Prompt]) -> None:
        conditions = self.options.conditions
        todo = [c for c in conditions if self._left(arm, round_, c, prompts)]
        if not todo:
            return
        many = self.options.rounds > 1
        name = f"{arm.name} {round_ + 1}/{self.options.rounds}" if many else arm.name
        with showing(name, 0) as show, self._servers(arm, show) as servers:
            for condition in todo:
                show.restart(label(name, condition, self.options.conditions))
                place = Place(arm.name, round_, condition)
                self._condition(place, arm, servers, prompts, show)

    def _left(self, arm: Arm, round_: int, condition: Condition, prompts: Sequence[Prompt]) -> bool:
        """Whether a prompt, a later turn of one, or the control is missing."""
        known = self.journal.known(Place(arm.name, round_, condition))
        out = {name for w in self.journal.windows if w.arm == arm.name for name in w.too_long}
        out |= {name for (name, _), record in known.items() if record.error}  # no turn follows it
        keys = _keys(prompts)
        asked = {key for key in keys if key[0] not in out}
        good = {key for key, record in known.items() if not record.error}
        checked = not self._controls(arm, round_, condition) or (
            good & keys <= self.journal.controlled(condition).keys()
        )
        return not (asked <= known.keys() and checked)

    def _controls(self, arm: Arm, round_: int, condition: Condition) -> bool:
        return not round_ and wanted(self.options, self.arms, arm, condition)

    def _condition(
        self,
        place: Place,
        arm: Arm,
        servers: Sequence[server.Server],
        prompts: Sequence[Prompt],
        show: Show,
    ) -> None:
        asked = self.options.model if arm.urls and not self._own_arms() else None
        window = Window(self.options, servers, place, asked)
        prompts = window.fitting(prompts)
        known = self.journal.known(place)
        keys = _keys(prompts)
        show.expect(len(keys - known.keys()))
        show.status("warming up")
        window.warm_up()
        show.start_clock()
        window.measure(prompts, known, partial(self._done, show), self._close)
        if self._controls(arm, place.round, place.condition):
            self._control(window, prompts, show)

    def _done(self, show: Show, record: RequestRecord) -> None:
        with writing(self.options.output_dir):
            self.journal.add(record)
        show.advance(record.error or record.prompt_id, record.completion_tokens)

    def _close(self, window: WindowRecord) -> None:
        with writing(self.options.output_dir):
            self.journal.add_window(window)

    def _control(self, window: Window, prompts: Sequence[Prompt], show: Show) -> None:
        condition = window.place.condition
        measured = self.journal.known(window.place)
        skip = self.journal.controlled(condition)
        show.restart(f"{label('vanilla', condition, self.options.conditions)} control")
        show.expect(len(measured) - len(skip))
        show.start_clock()

        def keep(record: ControlRecord) -> None:
            with writing(self.options.output_dir):
                self.journal.add_control(record)
            show.advance(record.prompt_id, len(record.ends))

        stopping.run(control(window.driver, prompts, condition, measured, keep, skip))
        for running in window.servers:
            running.check_alive()

    @contextmanager
    def _servers(self, arm: Arm, show: Show) -> Iterator[list[server.Server]]:
        if arm.urls:
            found = [foreign(url, arm.flag + url, self.options.ca_file) for url in arm.urls]
            yield [server.Server(address) for address in found]
            return
        # Asked for again in each round: the port may have been taken since.
        self.port = server.choose_port(self.options.port)
        log = self.files.new_log(arm)
        env = server.environment(self.options, arm, self.files.trace(arm))
        line = server.command(self.options, arm, self.port, self.files.export(arm))
        wait = self.options.startup_timeout
        try:
            with server.running(line, env, log, self.port, wait, show.status) as running:
                yield [running]
        except UserError as error:
            raise UserError(f"arm {arm.name}: {error}") from None

    def _report(self, complete: bool) -> None:
        results = collect(self.options, self.arms, self.journal, self.files)
        results.complete, results.provenance = complete, self.provenance
        nemo = self.options.format == "nemo"
        with writing(self.options.output_dir):
            folder, kinds = self.options.output_dir, self.options.export
            write(results, self.journal.records, folder, nemo=nemo, kinds=kinds)
        print_table(results, Console(), nemo=nemo)
        print(f"written to {self.options.output_dir}", file=sys.stderr)


def _keys(prompts: Sequence[Prompt]) -> set[Key]:
    """Each prompt's turns, as the journal names them."""
    return {(p.prompt_id, turn) for p in prompts for turn in range(len(p.turns))}
