"""One record per sample in ``<task>_<method>.jsonl``, appended as it ends, and taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..cli.errors import UserError
from ..numbers import metrics
from ..records.jsonlog import JsonLog


class SampleRecord(BaseModel):
    """What one sample did; None where there is no such number."""

    model_config = ConfigDict(extra="forbid")

    task: str
    method: str
    index: int
    id: str
    warmup: bool
    prompt_tokens: int
    prompt_cut: int = 0
    completion_tokens: int
    finish_reason: str
    seconds: float
    tokens_per_second: float | None
    accepted: int
    steps: int
    drafted: int | None = None
    acceptance_length: float | None
    step_accepted: list[int] | None = None
    text: str
    text_sha256: str
    settings_hash: str
    answer: str | None = None
    reference: str | None = None
    correct: bool | None = None

    def line(self) -> str:
        """For people, as ``Sample 3: 128 tokens, 2.41 s, 53.1 tok/s, accept 2.31``."""
        speed = "-" if self.tokens_per_second is None else f"{self.tokens_per_second:.1f}"
        accept = "-" if self.acceptance_length is None else f"{self.acceptance_length:.2f}"
        parts = [f"{self.completion_tokens} tokens", f"{self.seconds:.2f} s", f"{speed} tok/s"]
        parts.append(f"accept {accept}")
        if self.prompt_cut:
            parts.append(f"prompt cut by {self.prompt_cut} tokens")
        if self.correct is not None:
            given = "none" if self.answer is None else self.answer
            parts.append(f"answer {given} " + ("right" if self.correct else "wrong"))
        note = " (warm-up, in no average)" if self.warmup else ""
        return f"Sample {self.index}: {', '.join(parts)}{note}"


def numbers(
    tokens: int, seconds: float, accepted: int, steps: int, nodes: int | None
) -> dict[str, Any]:
    """The measured fields of a record: ``tokens / seconds``, ``1 + accepted / steps``.

    ``nodes``: drafted tokens of each step, the same in all; None where nothing is drafted.
    """
    return {
        "completion_tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": metrics.ratio(tokens, seconds),
        "accepted": accepted,
        "steps": steps,
        "drafted": None if nodes is None else nodes * steps,
        "acceptance_length": metrics.acceptance_length(steps, accepted),
    }


def digest(settings: Mapping[str, Any]) -> str:
    """A short name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class RecordBook:
    """The records of one task and method, on disk and here.

    The summary file beside them holds the settings in full, so that a run with others can be
    refused by name.

    Raises:
        UserError: in one line, where records of other settings are there.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], overwrite: bool, log: Path | None = None
    ) -> None:
        stem = f"{settings['task']}_{settings['method']}"
        self.log = JsonLog(folder / f"{stem}.jsonl", SampleRecord)
        self.path, self.summary = self.log.path, folder / f"{stem}.summary.json"
        self.text = log or folder / f"output_{settings['task']}.txt"
        self.settings, self.hash = settings, digest(settings)
        self.records: dict[int, SampleRecord] = {}
        self.runs: list[dict[str, Any]] = []
        if not overwrite:
            self._take_up()

    def _take_up(self) -> None:
        old = _summary(self.summary)
        if not self.path.is_file() or not self.path.stat().st_size:
            return
        self._refuse_other(old.get("settings") or {})
        for record in self.log.read():
            if record.settings_hash != self.hash:
                raise self._other("other settings")
            self.records[record.index] = record
        self.runs = list(old.get("runs") or [])

    def _refuse_other(self, old: dict[str, Any]) -> None:
        names = [name for name in self.settings if old and old.get(name) != self.settings[name]]
        if names:
            name = names[0]
            raise self._other(f"{name} {old.get(name)}, this run has {self.settings[name]}")

    def _other(self, made_with: str) -> UserError:
        return UserError(
            f"{self.path}: made with {made_with}; give --overwrite to start again, or another"
            " --output-dir"
        )

    def alike(self, method: str, own: Collection[str]) -> list[SampleRecord]:
        """Records that another method has of this task, if only settings in ``own`` differ."""
        if method == self.settings["method"]:
            return list(self.records.values())
        stem, old = f"{self.settings['task']}_{method}", self.settings_of(method)
        shared = self.settings.keys() - own
        same = all(old.get(name) == self.settings[name] for name in shared)
        return JsonLog(self.path.with_name(f"{stem}.jsonl"), SampleRecord).read() if same else []

    def settings_of(self, method: str) -> dict[str, Any]:
        """The settings that a method of this task ran with here; none if it has not."""
        if method == self.settings["method"]:
            return self.settings
        path = self.summary.with_name(f"{self.settings['task']}_{method}.summary.json")
        return _summary(path).get("settings") or {}

    def check_writable(self) -> None:
        """Raise where nothing can be written, before weights are loaded in vain.

        Raises:
            OSError: of the folder.
            UserError: of a log that lies elsewhere.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.text.parent.mkdir(parents=True, exist_ok=True)
            self.text.open("a").close()
        except OSError as error:
            if self.text.parent == self.path.parent:
                raise
            raise UserError(
                f"--log {self.text}: cannot be written ({error.strerror}); give another file"
            ) from None

    def start(self) -> None:
        """Make the files fit what is held here: no torn line, nothing of a dropped run."""
        self.log.rewrite(self.records.values())

    def append(self, record: SampleRecord) -> None:
        """Keep a record; it is on the disk when this returns."""
        self.records[record.index] = record
        self.log.append(record)

    def note(self, text: str) -> None:
        """Add to the readable file, which is a log: runs follow each other in it."""
        with self.text.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def _summary(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
