"""What a server's log says: its last words, the first error in it, why requests had no drafts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..cli.errors import one_line

WIDTH = 300  # of one line
TAIL_BYTES = 200_000

_PROCESS = re.compile(r"^(\(\w+ pid=\d+\)|\[[\d-]+ [\d:]+[^\]]*\]) ?")  # vLLM's, SGLang's
_HEAD = re.compile(r"^(DEBUG|INFO|WARNING|ERROR) [\d-]+ [\d:]+ \[[^\]]*\] ?")
_NOISE = re.compile(
    r"\s+For further information visit|\s*warnings\.warn\(|.*\wWarning: "
    r"|Received sigquit from a child process|kill_process_tree called"  # follow an error
)
_ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception): \S")


_UNDRAFTED = re.compile(r"longspec: (\d+) requests? so far served without drafts: (.+?)\s*$", re.M)


def undrafted_reasons(logs: Iterable[Path]) -> dict[str, int]:
    """Why requests had no drafts, as the longspec plugin logs it, and of at least how many."""
    found: Counter[str] = Counter()
    for log in logs:
        told: dict[str, int] = {}
        with suppress(OSError):
            for count, reason in _UNDRAFTED.findall(log.read_text("utf-8", "replace")):
                told[reason] = max(told.get(reason, 0), int(count))
        found.update(told)
    return dict(found)


def last_line(log: Path) -> str:
    """The newest line that says something, for progress."""
    told = (_HEAD.sub("", line).strip() for line in reversed(_lines(log)) if not _NOISE.match(line))
    return next(filter(None, told), "")


def last_words(log: Path, count: int = 3) -> str:
    """The first error, which later ones only follow from, and the last lines, without chatter."""
    told = [text for line in _lines(log) if (text := _telling(line)).strip()]
    ends = [one_line(text)[:WIDTH] for text in told[-count:]]
    first = next((one_line(text)[:WIDTH] for text in told if _ERROR.match(text)), None)
    cause = f"first error: {first}; " if first and first not in ends else ""
    return f"{cause}last lines: {' | '.join(ends)}"


def _lines(log: Path) -> list[str]:
    """The last lines, without the name of the process at their head."""
    with suppress(OSError):
        text = log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")
        return [_PROCESS.sub("", line) for line in text.splitlines()]
    return []


def _telling(line: str) -> str:
    """The line without its head; nothing for what is below an error, or a warning of Python's."""
    head = _HEAD.match(line)
    if (head and head.group(1) != "ERROR") or _NOISE.match(line):
        return ""
    return _HEAD.sub("", line)
