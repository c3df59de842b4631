"""What a run has on disk while it goes on, so that it survives being killed and is taken up again.

``run.json`` holds the options, ``requests.jsonl`` a record per measured request, ``windows.jsonl``
what the servers' counters said of each measured window, ``control.jsonl`` vanilla once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..cli.errors import UserError
from ..cli.options import Options
from ..cli.sweep import Condition, Place
from .counters import Counters
from .jsonlog import JsonLog, replace_text
from .jsontext import an_object, parsed
from .requests import ControlRecord, RequestRecord
from .windows import WindowRecord

# What may differ when a run is taken up: where and how long, not what is measured.
_FREE = {
    "output_dir",
    "resume",
    "overwrite",
    "port",
    "startup_timeout",
    "format",
    "goodput",
    "recipe",
    "ca_file",
    "export",
}
Key = tuple[str, int]  # prompt, turn


def place_of(record: RequestRecord) -> Place:
    """The arm, round and condition of a record."""
    return Place(record.arm, record.round, Condition(record.concurrency, record.temperature))


class Journal:
    """The files of one run.

    Raises:
        UserError: in one line, where a run of other options is there, or an unfinished one that
            is neither to be resumed nor overwritten.
    """

    def __init__(self, options: Options) -> None:
        folder = options.output_dir
        self.manifest, self.results = folder / "run.json", folder / "results.json"
        self._requests = JsonLog(folder / "requests.jsonl", RequestRecord)
        self._windows = JsonLog(folder / "windows.jsonl", WindowRecord)
        self._control = JsonLog(folder / "control.jsonl", ControlRecord)
        self._failed = JsonLog(folder / "failed.jsonl", RequestRecord)
        self.options = options.shown(exclude=_FREE)
        self.records: list[RequestRecord] = []
        self.failed: list[RequestRecord] = []
        self.windows: list[WindowRecord] = []
        self.control: list[ControlRecord] = []
        if options.resume:
            self._take_up()
        elif not options.overwrite:
            self._refuse_unfinished()

    def start(self) -> None:
        """Make the files fit what is held here: no torn line, nothing of a replaced run."""
        self.results.unlink(missing_ok=True)  # an unfinished run has none that says complete
        replace_text(self.manifest, json.dumps(self.options, indent=2) + "\n")
        self._failed.rewrite(self.failed)
        self._requests.rewrite(self.records)
        self._windows.rewrite(self.windows)
        self._control.rewrite(self.control)

    def add(self, record: RequestRecord) -> None:
        self.records.append(record)
        self._requests.append(record)

    def add_window(self, window: WindowRecord) -> None:
        self.windows.append(window)
        self._windows.append(window)

    def add_control(self, record: ControlRecord) -> None:
        self.control.append(record)
        self._control.append(record)

    def known(self, place: Place) -> dict[Key, RequestRecord]:
        """Records of a place, by prompt and turn."""
        return {record.key: record for record in self.records if place_of(record) == place}

    def controlled(self, condition: Condition) -> dict[Key, ControlRecord]:
        """Vanilla's control, by prompt and turn."""
        mine = [
            c
            for c in self.control
            if (c.concurrency, c.temperature) == (condition.concurrency, condition.temperature)
        ]
        return {record.key: record for record in mine}

    def _take_up(self) -> None:
        """Keep what ended well; what failed goes to ``failed.jsonl``, to be asked again.

        An answer that came and was odd stays: asked again it would come again.
        """
        if not self.manifest.is_file():
            return
        before = _manifest(self.manifest)
        names = [name for name in self.options if before.get(name) != self.options[name]]
        if names:
            flag = "--" + names[0].replace("_", "-")
            raise UserError(
                f"--resume: {self.manifest.parent} was begun with {flag} {before.get(names[0])},"
                f" not {self.options[names[0]]}; give that, or --overwrite to start again"
            )
        found = self._requests.read()
        again = [record for record in found if record.error and not record.answered]
        self.records = [record for record in found if not record.error or record.answered]
        self.failed = self._failed.read() + again
        self.windows, self.control = self._windows.read(), self._control.read()

    def _refuse_unfinished(self) -> None:
        if not self.manifest.is_file() or _complete(self.results):
            return
        count = len(self._requests.read())
        if count:
            raise UserError(
                f"--output-dir {self.manifest.parent}: holds an unfinished run with {count}"
                " requests; give --resume to go on with it, or --overwrite to start again"
            )


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return an_object(parsed(path.read_bytes()), "it")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); give --overwrite to start again"
        ) from None


def _complete(results: Path) -> bool:
    try:
        return bool(parsed(results.read_bytes())["complete"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def counters_as_dict(many: Iterable[Counters | None]) -> dict[str, Any] | None:
    """Sum over replicas; None where one could not be read."""
    found = list(many)
    if not found or any(each is None for each in found):
        return None
    return asdict(sum((each for each in found if each is not None), Counters()))
