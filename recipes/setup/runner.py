"""Running pip (and other long commands) with a progress line, a log and errors of one line."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from .console import Progress, SetupError

POLL_SECONDS = 1.0
PIP_OPTIONS = ("--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "30")

# What pip prints, and what to do. The first match wins.
CAUSES = (
    (r"No space left on device|Errno 28", "the disk is full; free some space"),
    (
        r"from versions: none|NewConnectionError|Failed to establish|name resolution|ProxyError"
        r"|Connection refused|ConnectTimeout|Read timed out|Network is unreachable|ReadTimeout",
        "the package index cannot be reached; check the network or pip's index settings",
    ),
    (r"SSLError|CERTIFICATE_VERIFY_FAILED", "the index's certificate is refused; see pip's --cert"),
    (r"No matching distribution", "no such package for this Python and machine; try Python 3.12"),
    (r"Permission denied|Errno 13", "a folder cannot be written; check its owner"),
)


class Runner:
    """Runs commands of one environment and appends all they print to ``log``."""

    def __init__(self, python: Path, log: Path, progress: Progress) -> None:
        self.python = python
        self.log = log
        self.progress = progress

    def pip(self, *arguments: str) -> None:
        """``pip install`` and the like; raise SetupError with a cause."""
        self.run([str(self.python), "-m", "pip", *arguments], f"pip {arguments[0]}")

    def install(self, *arguments: str) -> None:
        """``pip install`` with the options that suit a script."""
        self.pip("install", *PIP_OPTIONS, "--progress-bar", "off", *arguments)

    def offered_version(self, requirement: str) -> str:
        """The version that the index would give for ``requirement``; installs nothing."""
        report = self.log.with_name("setup-report.json")
        try:
            self.install(
                "--dry-run",
                "--ignore-installed",
                "--no-deps",
                "--quiet",
                "--report",
                str(report),
                requirement,
            )
            found = json.loads(report.read_text("utf-8"))["install"][0]["metadata"]["version"]
        finally:
            report.unlink(missing_ok=True)
        return str(found)

    def run(self, command: Sequence[str], name: str) -> None:
        """Run ``command`` to its end; its last line is the progress detail."""
        lines: list[str] = []
        try:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise SetupError(f"{name} cannot start: {error}; remove .venv and run again") from None
        reader = threading.Thread(target=self._read, args=(process, lines), daemon=True)
        reader.start()
        try:
            self._wait(process, lines)
        except BaseException:
            process.terminate()
            process.wait(30)
            raise
        reader.join(10)
        if process.returncode:
            raise SetupError(f"{name} failed: {explain(lines)} (log: {self.log})")

    def _read(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                lines.append(line.strip())
                log.write(line)
                log.flush()

    def _wait(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        while True:
            try:
                process.wait(POLL_SECONDS)
                return
            except subprocess.TimeoutExpired:
                self.progress.tick(lines[-1] if lines else "")


def explain(lines: Sequence[str]) -> str:
    """One line on why a command failed, from what it printed."""
    text = "\n".join(lines)
    for pattern, advice in CAUSES:
        if re.search(pattern, text):
            return advice
    errors = [line for line in lines if re.match(r"(error|.*Error)\b", line, re.IGNORECASE)]
    last = (errors or [line for line in lines if line] or ["it printed nothing"])[-1]
    return last[:200]
