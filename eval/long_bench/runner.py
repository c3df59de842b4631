"""Runs the samples of one or several tasks, and keeps what there is when it is stopped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..cli.progress import Show, err, showing
from ..records.folder import writing
from ..records.jsonlog import replace_text
from ..records.provenance import describe
from ..records.requests import sha256
from ..report.tables import warning
from .model import Answer, Engine, Setting
from .options import Options
from .reading import Data
from .records import RecordBook, SampleRecord, numbers
from .shared import write_results
from .summary import Summary, print_table, running, summarise

SCHEMA_VERSION = 1
Grade = Callable[[str, str | None], dict[str, Any]]


class Task:
    """The samples of one task, and the records of those that have run."""

    def __init__(self, data: Data, book: RecordBook, depth: int | None) -> None:
        self.data, self.book, self.depth = data, book, depth

    @property
    def pending(self) -> list[int]:
        """Indices of the samples without a record."""
        return [i for i in range(len(self.data.samples)) if i not in self.book.records]

    def summary(self) -> Summary:
        """Of the samples asked for: an earlier run may have recorded more."""
        there = range(len(self.data.samples))
        found = (self.book.records[i] for i in there if i in self.book.records)
        return summarise(found, self.depth)

    def write(self) -> None:
        """Write the summary file."""
        found = {
            "schema_version": SCHEMA_VERSION,
            "complete": not self.pending,
            "settings": self.book.settings,
            "settings_hash": self.book.hash,
            "summary": self.summary().model_dump(),
            "runs": self.book.runs,
        }
        replace_text(self.book.summary, json.dumps(found, indent=2) + "\n")


class Runner:
    """A run of one of the commands.

    Args:
        command: its module's name within ``eval``.
        extra: settings of this command, beside those of all.
        grade: makes a record's fields on the answer from text and reference.

    Raises:
        UserError: in one line, before weights are loaded, for what cannot work.
    """

    def __init__(
        self,
        command: str,
        options: Options,
        tasks: Sequence[Data],
        extra: Mapping[str, Any] | None = None,
        grade: Grade | None = None,
    ) -> None:
        self.command, self.options, self.grade = command, options, grade
        self.setting = Setting(options)
        shared = {**options.settings(), **self.setting.settings(), **(extra or {})}
        self.tasks = [self._task(data, shared) for data in tasks]

    def _task(self, data: Data, shared: dict[str, Any]) -> Task:
        settings = {"task": data.task, **shared, "data_sha256": data.sha256}
        with writing(self.options.output_dir):
            given = self.options
            book = RecordBook(given.output_dir, settings, given.overwrite, given.log)
        return Task(data, book, self.options.depth)

    def run(self) -> int:
        """Measure what is missing; report in any case."""
        try:
            if any(task.pending for task in self.tasks):
                self._measure()
            else:
                _say("all samples are there already; --overwrite measures them again")
        finally:
            self._report()
        return 0

    def _measure(self) -> None:
        pending = [task for task in self.tasks if task.pending]
        with writing(self.options.output_dir):
            for task in pending:
                task.book.check_writable()
        paths = [path for path in (self.options.model, self.setting.draft) if path]
        _say(f"loading {' and '.join(map(str, paths))}")
        engine = Engine.load(self.options, self.setting)
        provenance = describe(f"eval.{self.command}", {}, dict(os.environ))
        with writing(self.options.output_dir):
            for task in pending:
                task.book.runs.append(provenance)
                task.book.start()
                task.write()
        for task in pending:
            self._run_task(engine, task)

    def _run_task(self, engine: Engine, task: Task) -> None:
        label, total = f"{task.data.task} {self.options.method}", len(task.data.samples)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with writing(self.options.output_dir):
            task.book.note(f"=== {label}, {started}\n{json.dumps(task.book.settings)}")
        with showing(label, total) as show:
            if task.pending[0]:  # goes on in a new process, which is cold again
                _say("warming up again with sample 0; this is not recorded")
                self._answer(engine, task, 0)
            for index in task.pending:
                record = self._sample(engine, task, index)
                with writing(self.options.output_dir):
                    task.book.append(record)
                    self._tell(task, record, show)

    def _answer(self, engine: Engine, task: Task, index: int) -> tuple[int, int, Answer]:
        """Tokens of the prompt as it was sent, those cut out of it, and what it got."""
        ids, cut = engine.encode(task.data.samples[index])
        return len(ids), cut, engine.answer(ids, self.options.seed + index)

    def _sample(self, engine: Engine, task: Task, index: int) -> SampleRecord:
        sample = task.data.samples[index]
        length, cut, answer = self._answer(engine, task, index)
        text = engine.decode(answer.tokens)
        nodes = self.options.nodes
        graded = self.grade(text, sample.reference) if self.grade else {}
        return SampleRecord(
            task=task.data.task,
            method=self.options.method,
            index=index,
            id=sample.id,
            warmup=index == 0,
            prompt_tokens=length,
            prompt_cut=cut,
            finish_reason="stop" if answer.tokens[-1] in engine.eos else "length",
            text=text,
            text_sha256=sha256(text),
            settings_hash=task.book.hash,
            step_accepted=answer.step_accepted,
            **numbers(len(answer.tokens), answer.seconds, answer.accepted, answer.steps, nodes),
            **graded,
        )

    def _tell(self, task: Task, record: SampleRecord, show: Show) -> None:
        average = running(task.summary())
        task.book.note(f"{record.line()}\n{average}\n{record.text}\n")
        _say(record.line())
        if show.bar is not None and show.task is not None:
            done = show.total - len(task.pending)
            show.bar.update(show.task, completed=done, note=escape(average))
        else:
            _say(f"  {average}")

    def _report(self) -> None:
        known = [task for task in self.tasks if task.book.records]
        if not known:
            return
        with writing(self.options.output_dir):
            for task in known:
                task.write()
            books = [task.book for task in known]
            provenance = {**books[0].settings, **(books[0].runs[-1] if books[0].runs else {})}
            warnings = write_results(self.options.output_dir, books, provenance)
        title = f"{self.command}, {self.options.method}"
        print_table(title, {task.data.task: task.summary() for task in known}, Console())
        for warned in warnings:
            _say(f"warning: {warning(warned)}")
        print(f"written to {self.options.output_dir}", file=sys.stderr)


def _say(text: str) -> None:
    """A line on stderr, above the bar if there is one."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)
