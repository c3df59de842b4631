"""Data files as people save them: what is read of each, and the one line where nothing can be."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from eval import datasets
from eval.cli.errors import UserError

A, B = {"id": "a", "prompt": "Hi."}, {"id": "b", "prompt": "Ho."}
LINES = f"{json.dumps(A)}\n{json.dumps(B)}\n"
LIST, PRETTY = json.dumps([A, B]), json.dumps([A, B], indent=2)
BOM = b"\xef\xbb\xbf"
SYSTEM = {"role": "system", "content": "Be brief."}
TOLD = {"from": "system", "value": "Be brief."}
USER = {"role": "user", "content": "Hi."}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


READ: dict[str, tuple[str, bytes]] = {
    "lines": ("a.jsonl", LINES.encode()),
    "lines-under-any-name": ("a.txt", LINES.encode()),
    "lines-as-json": ("a.json", LINES.encode()),
    "lines-without-an-end": ("a.jsonl", LINES.strip().encode()),
    "lines-with-crlf": ("a.jsonl", LINES.replace("\n", "\r\n").encode()),
    "a-mark": ("a.jsonl", BOM + LINES.encode()),
    "a-mark-in-json": ("a.json", BOM + LINES.encode()),
    "a-mark-before-a-list": ("a.json", BOM + LIST.encode()),
    "a-mark-within-gzip": ("a.jsonl.gz", gzip.compress(BOM + LINES.encode())),
    "a-list": ("a.json", LIST.encode()),
    "a-list-as-lines": ("a.jsonl", LIST.encode()),
    "a-list-without-a-suffix": ("a", PRETTY.encode()),
    "a-pretty-list": ("a.json", PRETTY.encode()),
    "a-pretty-list-as-lines": ("a.jsonl", PRETTY.encode()),
    "pretty-objects": ("a.json", "\n".join(json.dumps(x, indent=1) for x in (A, B)).encode()),
    "objects-on-one-line": ("a.json", (json.dumps(A) + " " + json.dumps(B)).encode()),
    "a-list-in-an-object": ("a.json", json.dumps({"version": 1, "data": [A, B]}).encode()),
    "a-pretty-one": ("a.json", json.dumps({"data": [A, B]}, indent=1).encode()),
    "gzip": ("a.jsonl.gz", gzip.compress(LINES.encode())),
    "gzip-of-a-list": ("a.json.gz", gzip.compress(LIST.encode())),
    "gzip-by-its-bytes": ("a.jsonl", gzip.compress(LINES.encode())),
    "nulls": ("a.jsonl", lines({**A, "messages": None, "turns": None}, {**B, "category": None})),
    "a-union": (
        "a.jsonl",
        lines(
            {**A, "messages": None},
            {"id": "b", "prompt": None, "messages": [{**USER, "content": "Ho.", "name": None}]},
        ),
    ),
    "null-turns-beside-conversations": (
        "a.jsonl",
        lines(
            *({"id": x["id"], "turns": None, "conversations": [
                {"from": "human", "value": x["prompt"], "role": None, "content": None}
            ]} for x in (A, B))
        ),
    ),
    "content-in-parts": (
        "a.jsonl",
        lines(
            *({"id": x["id"], "messages": [
                {"role": "user", "content": [{"type": "text", "text": x["prompt"]}]}
            ]} for x in (A, B))
        ),
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "zip": ("a.zip", b"PK\x03\x04rest", ": a zip archive; unpack it"),
    "bzip2": ("a.jsonl.bz2", bz2.compress(LINES.encode()), ": packed by bzip2; unpack it"),
    "xz": ("a.jsonl", lzma.compress(LINES.encode()), ": packed by xz; unpack it"),
    "utf-16": ("a.jsonl", LINES.encode("utf-16"), ": UTF-16; save it as UTF-8"),
    "latin-1": (
        "a.jsonl",
        lines(A) + '{"prompt": "é"}'.encode("latin-1"),
        ":2: cannot be read as UTF-8 text (UnicodeDecodeError)",
    ),
    "csv": ("a.csv", b"id,prompt\n1,Hi\n", ":1: not JSON; expected one object a line"),
    "nested-line": ("a.jsonl", lines(A) + b"[" * 100_000, ":2: nested too deeply"),
    "nested-first": ("a.jsonl", b'{"a":' * 100_000, ":1: nested too deeply"),
    "nested-list": ("a.json", b"[" * 100_000, ":1: nested too deeply"),
    "torn-list": ("a.json", PRETTY.encode()[:-20], ":8: not JSON; "),
    "torn-gzip": ("a.gz", gzip.compress(LINES.encode())[:-9], ": cannot be read as UTF-8 text"),
    "half-a-pair": (
        "a.jsonl",
        b'{"prompt": "a\\ud83d"}\n',
        ":1: a text with half a surrogate pair; mend it or take the line out",
    ),
    "half-a-pair-in-an-id": (
        "a.jsonl",
        b'{"id": "\\ud83d", "prompt": "a"}\n',
        ":1: a text with half a surrogate pair; mend it or take the line out",
    ),
    "a-number-of-many-digits": ("a.jsonl", lines(A) + b"1" * 5000, ":2: "),
    "all-null": (
        "a.jsonl",
        lines({"prompt": None, "turns": None}),
        ":1: no turns, messages or prompt; expected one of them",
    ),
    "system-after-the-user": (
        "a.jsonl",
        lines({"messages": [USER, SYSTEM]}),
        ":1: a message of role system after the first of the user; put it before",
    ),
    "system-alone": ("a.jsonl", lines({"messages": [SYSTEM]}), ":1: an empty list of turns"),
    "parts-that-are-images": (
        "a.jsonl",
        lines({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        ":1: content has parts that are no text; only texts can be sent",
    ),
    "a-list-of-texts": ("a.json", b'["Hi.", "Ho."]', ":1: a JSON list; expected an object"),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str, tmp_path: Path) -> None:
    file, raw = READ[name]
    (tmp_path / file).write_bytes(raw)
    found = datasets.load(str(tmp_path / file))
    assert [(p.prompt_id, p.turns, p.system) for p in found] == [
        ("a", ["Hi."], None),
        ("b", ["Ho."], None),
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    file, raw, why = REFUSED[name]
    path = tmp_path / file
    path.write_bytes(raw)
    with pytest.raises(UserError) as raised:
        datasets.load(str(path))
    assert str(raised.value).startswith(f"{path}{why}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("row", "system"),
    [
        ({"messages": [SYSTEM, USER]}, "Be brief."),
        ({"messages": [SYSTEM, {**SYSTEM, "role": "developer"}, USER]}, "Be brief.\n\nBe brief."),
        ({"messages": [{**SYSTEM, "content": None}, USER]}, None),
        ({"turns": ["Hi."], "system": "Be brief."}, "Be brief."),
        (
            {"conversations": [TOLD, {"from": "human", "value": "Hi."}]},
            "Be brief.",
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi."}], "system": "Be brief."},
            "Be brief.",
        ),
    ],
)  # fmt: skip
def test_what_is_said_to_the_model_first(row: Any, system: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(row))
    (found,) = datasets.load(str(path))
    assert (found.turns, found.system) == (["Hi."], system)
