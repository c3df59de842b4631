"""Writes a configuration of SPEED-Bench as JSONL; what was filled before is not fetched again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..cli.errors import UserError
from . import speed_bench
from .fetching import Fetcher
from .placeholders import SCRIPT, Sources, UnresolvedError, fill, is_placeholder, source_of
from .rows import Row, filled, read

REPO = "nvidia/SPEED-Bench"
Say = Callable[[str], None]


class Filling:
    """One configuration: rows as they are filled, and why the others are not.

    Rows go to ``CONFIG.partial.jsonl`` as they come, which becomes ``CONFIG.jsonl`` with the last.
    """

    def __init__(self, folder: Path, config: str, fetch: Fetcher, say: Say) -> None:
        self.config, self.fetch, self.say = config, fetch, say
        self.whole = folder / f"{config}.jsonl"
        self.partial = folder / f"{config}.partial.jsonl"
        self.origin = folder / f"{config}.source.json"
        self.left: dict[str, Counter[str]] = {}

    def run(self, revision: str) -> None:
        """Fill all rows; ``UserError`` names the sources of those that cannot be filled."""
        if self.whole.is_file():
            self.say(f"{self.whole} is there; delete it to fetch it again")
            return
        rows = self._rows(revision)
        done = self._done()
        empty = sum(is_placeholder(row) for row in rows)
        self.say(f"{self.config}: {len(rows)} prompts, of which {empty} lie in other data sets")
        ordered = self._fill(rows, done)
        if self.left:
            raise UserError(self._complaint(len(rows), len(ordered)))
        write_lines(self.whole, ordered)
        self.partial.unlink(missing_ok=True)
        self.say(f"{self.whole}: {len(ordered)} prompts")

    def _rows(self, revision: str) -> list[Row]:
        names = self.fetch.names(REPO, revision)
        files = sorted(n for n in names if n.startswith(f"{self.config}/test-"))
        if not files:
            raise UserError(f"{REPO}: no file {self.config}/test-* at revision {revision}")
        paths = [self.fetch.hub(REPO, name, revision) for name in files]
        self._keep_origin(revision, paths)
        return [row for path in paths for row in filled(path)]

    def _keep_origin(self, revision: str, paths: Sequence[Path]) -> None:
        """Rows that were filled from other files than these are dropped."""
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        told = {"source": REPO, "revision": revision, "license": speed_bench.LICENSE}
        text = json.dumps(told | {"sha256": digests}, indent=2) + "\n"
        self.origin.parent.mkdir(parents=True, exist_ok=True)
        if not self.origin.is_file() or self.origin.read_text("utf-8") != text:
            self.partial.unlink(missing_ok=True)
        self.origin.write_text(text, "utf-8")

    def _done(self) -> dict[str, dict[str, Any]]:
        """Rows of an earlier run by id; a line that was torn in writing is filled again."""
        if not self.partial.is_file():
            return {}
        rows = [row.value for row in read(self.partial)]
        return {str(row["question_id"]): row for row in rows if isinstance(row, dict)}

    def _fill(self, rows: Sequence[Row], done: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """By source, so that progress can be told; the rows' own order is kept in the end."""
        sources = Sources(self.fetch)
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if str(row.get("question_id")) not in done:
                groups.setdefault(source_of(row) if is_placeholder(row) else "", []).append(row)
        for name, group in groups.items():
            made = [made for row in group if (made := self._made(row, name, sources))]
            done |= {str(row["question_id"]): row for row in made}
            write_lines(self.partial, list(done.values()))
            self.say(f"  {name or 'prompts that are there'}: {len(made)} of {len(group)}")
        ids = [str(row.get("question_id")) for row in rows]
        return [done[name] for name in ids if name in done]

    def _made(self, row: Row, name: str, sources: Sources) -> dict[str, Any] | None:
        if not name:
            return row.fields
        try:
            return row.fields | {"turns": fill(row, self.config, sources)}
        except UnresolvedError as error:
            self.left.setdefault(name, Counter())[str(error)] += 1
            return None

    def _complaint(self, total: int, made: int) -> str:
        told = "; ".join(
            f"{name}: {count.total()} ({count.most_common(1)[0][0]})"
            for name, count in self.left.items()
        )
        return (
            f"speed-bench {self.config}: {total - made} of {total} prompts are not filled, by"
            f" source: {told}; the others are in {self.partial}; for all of them download"
            f" {SCRIPT} and give it as --script FILE"
        )


def by_script(script: Path, folder: Path, config: str) -> None:
    """Let the source's own script write the file, and look at what it wrote."""
    if not script.is_file():
        raise UserError(f"--script {script}: no such file; download {SCRIPT}")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(script), "--config", config, "--output_dir", str(folder)]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise UserError(
            f"--script {script}: ended with {status}, see above; it needs a network and pip"
            " install datasets pandas tiktoken"
        )
    speed_bench.load(folder, config)


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    os.replace(part, path)
