"""Server-sent events by their own rules, out of the bytes of a stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html: lines end in CR, LF or CRLF and in
nothing else, so that U+2028 within an answer stays text; an empty line ends an event; its ``data``
lines are joined by line feeds; comments and other fields are passed over; a byte order mark at the
start is none of it. Beyond the rules, an event that the stream ends without an empty line counts.
"""

from __future__ import annotations

import re

_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Takes a stream as it comes, and gives the data of each event that is whole."""

    def __init__(self) -> None:
        self._rest = b""  # a line that has not ended yet
        self._data: list[bytes] = []
        self._first = True
        self._after_cr = False  # a line feed that comes next belongs to it

    def feed(self, part: bytes) -> list[str]:
        """The data of the events that end within ``part``."""
        if self._after_cr:
            part = part.removeprefix(b"\n")
            self._after_cr = not part
        if not part:
            return []
        self._after_cr = part.endswith(b"\r")
        *lines, self._rest = _END.split(self._rest + part)
        return self._events(lines)

    def end(self) -> list[str]:
        """The data of an event that was not ended."""
        lines, self._rest = [self._rest, b""], b""
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[str]:
        found: list[str] = []
        for line in lines:
            if self._first:
                line, self._first = line.removeprefix(_BOM), False
            if line:
                name, _, value = line.partition(b":")
                if name == b"data":
                    self._data.append(value.removeprefix(b" "))
            elif self._data:
                found.append(b"\n".join(self._data).decode("utf-8", "replace"))
                self._data = []
        return found
