"""The values in a data file: JSON lines, JSON values of any layout, parquet; packed by gzip or not.

What a file holds is told by its first bytes, not by its name: people save JSON lists as ``.jsonl``
and JSON lines as ``.json``, with a byte order mark or without.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..cli.errors import UserError
from ..records.jsontext import parsed

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_REFUSED = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"BZh": "packed by bzip2; unpack it",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
    b"ARROW1": "an Arrow file; save it as parquet or JSON lines",
}
# Fields of rows that hold lists of objects themselves, or stand beside such.
_OF_ROWS = {"messages", "conversations", "conversation", "turns", "prompt", "context", "problem"}
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class NotJson:
    """Stands for a line that is no JSON, until someone asks for its fields."""

    why: str = "not JSON; expected one object a line"


def values(path: Path) -> Iterable[object]:
    """The values of a file in order; ``NotJson`` where a line holds none.

    Raises:
        UserError: in one line, for a file of another kind, or one that cannot be read.
    """
    with _told(path), path.open("rb") as file:
        head = file.read(8)
    for magic, why in _REFUSED.items():
        if head.startswith(magic):
            raise UserError(f"{path}: {why}")
    if head.startswith(_PARQUET) or path.suffix == ".parquet":
        return _parquet(path)
    return _whole(path) if _is_whole(path) else _lines(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__})") from None


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    return gzip.open(path) if packed or path.suffix == ".gz" else path.open("rb")


def _is_whole(path: Path) -> bool:
    """Whether the file is a list, or its first line is no whole value, or one that wraps a list."""
    with _told(path), _open(path) as file:
        first = next((line for raw in file if (line := _bare(raw).strip())), b"")
    if first.startswith(b"[") or not first.startswith(b"{"):
        return first.startswith(b"[")
    try:
        return _wrapped(parsed(first)) is not None
    except ValueError as error:
        return isinstance(error, json.JSONDecodeError)


def _whole(path: Path) -> Iterable[object]:
    """A list's members, or values one after the other, over as many lines as they like.

    A text that is neither is read by lines after all, so that the bad one is named.
    """
    with _told(path), _open(path) as file:
        raw = _bare(file.read())
    try:
        found = list(_values(raw.decode("utf-8").strip()))
    except RecursionError:
        raise UserError(f"{path}:1: nested too deeply") from None
    except json.JSONDecodeError as error:
        if not raw.lstrip().startswith(b"["):
            return _lines(path)
        raise UserError(f"{path}:{error.lineno}: not JSON; {error.msg}") from None
    except ValueError:  # of the decoding, or of a number with too many digits
        return _lines(path)
    if len(found) != 1:
        return found
    members = found[0] if isinstance(found[0], list) else _wrapped(found[0])
    return found if members is None or not _are_objects(members) else members


def _wrapped(value: object) -> list[Any] | None:
    """The one list of objects in an object that is no row itself, as in ``{"data": [...]}``."""
    if not isinstance(value, dict) or _OF_ROWS & value.keys():
        return None
    lists = [each for each in value.values() if isinstance(each, list) and _are_objects(each)]
    return lists[0] if len(lists) == 1 else None


def _are_objects(members: list[Any]) -> bool:
    return any(isinstance(member, dict) for member in members)


def _values(text: str) -> Iterator[object]:
    at = 0
    while at < len(text):
        value, end = _DECODER.raw_decode(text, at)
        yield value
        at = end + len(text[end:]) - len(text[end:].lstrip())


def _lines(path: Path) -> Iterator[object]:
    """A value a line; empty lines at the end are none."""
    blank = 0
    with _told(path), _open(path) as file:
        for number, raw in enumerate(file, 1):  # bytes part at line feeds only, not at U+2028
            line = _bare(raw) if number == 1 else raw
            if not line.strip():
                blank += 1
                continue
            yield from (NotJson() for _ in range(blank))
            blank = 0
            yield _value(path, number, line)


def _bare(raw: bytes) -> bytes:
    return raw.removeprefix(b"\xef\xbb\xbf")


def _value(path: Path, number: int, line: bytes) -> object:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: cannot be read as UTF-8 text ({type(error).__name__})"
        ) from None
    try:
        return parsed(text)
    except json.JSONDecodeError:
        return NotJson()
    except ValueError as error:  # such as a number of too many digits
        return NotJson(str(error))


def _parquet(path: Path) -> Iterable[object]:
    try:
        from pyarrow import parquet

        table = parquet.read_table(path)
    except ImportError:
        raise UserError(
            f"{path}: parquet needs pyarrow; pip install pyarrow, or give JSONL"
        ) from None
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise UserError(f"{path}: cannot be read as parquet ({type(error).__name__})") from None
    found: list[Any] = table.to_pylist()  # nulls stay None, where a data frame would have NaN
    return found
