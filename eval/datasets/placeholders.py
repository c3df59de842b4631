"""Fills SPEED-Bench's placeholder rows from the data sets that their texts come from.

A row names its source and the id there. It is filled where that and the row itself tell the whole
prompt: the row has a template, or the prompt is the source's own text. For the other sources the
prompt is worded, padded or drawn at random in the script that the data set's authors publish;
a copy of ours could differ from it unseen, so these rows are left to that script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from typing import Any

from ..cli.errors import UserError
from .fetching import Fetcher
from .rows import PLACEHOLDER, Row, read, stream

SCRIPT = (
    "https://github.com/NVIDIA-NeMo/Skills/blob/main/nemo_skills/dataset/speed-bench/prepare.py"
)
WORDED = "its prompts are made in the source's own script"
_HLE = "021a3d71f516a7ac28ceb8d284969902edf1edeb"
_CODE = "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
_CONTESTS = "802411c3010cb00d1b05bad57ca77365a3c699d6"
_OPUS = "805090dc28bf78897da9641cdf08b61287580df9"
_ROLES = (
    "https://huggingface.co/datasets/ZenMoore/RoleBench/resolve/"
    "a57ed54f9613921e4a5f1b63601a558cd5acf971/profiles-eng/desc.json"
)


class UnresolvedError(Exception):
    """Why a row stays a placeholder."""


class Sources:
    """The source data sets, each read once and cut down to the fields that are needed."""

    def __init__(self, fetch: Fetcher) -> None:
        self.fetch = fetch
        self._read: dict[str, list[dict[str, Any]]] = {}
        self._ids: dict[str, dict[str, dict[str, Any]]] = {}

    def of_hub(
        self, repo: str, pattern: str, fields: tuple[str, ...], revision: str = "main"
    ) -> list[dict[str, Any]]:
        """The rows of all files of that pattern, in the order of their names."""
        key = f"{repo} {pattern}"
        if key not in self._read:
            names = sorted(n for n in self.fetch.names(repo, revision) if fnmatch(n, pattern))
            if not names:
                raise UserError(f"{repo}: no file {pattern} at revision {revision}")
            files = (self.fetch.hub(repo, name, revision) for name in names)
            self._read[key] = [_cut(row, fields) for file in files for row in stream(file)]
        return self._read[key]

    def by_id(
        self, repo: str, pattern: str, fields: tuple[str, ...], revision: str = "main"
    ) -> Mapping[str, dict[str, Any]]:
        """The same by the first of the fields."""
        key = f"{repo} {pattern}"
        if key not in self._ids:
            rows = self.of_hub(repo, pattern, fields, revision)
            self._ids[key] = {str(row[fields[0]]): row for row in rows}
        return self._ids[key]

    def of_url(self, address: str) -> list[Row]:
        """The rows of a file at an address; pages of the hub become the file itself."""
        raw = re.sub(r"/(tree|blob|raw)/", "/resolve/", address, count=1)
        return read(self.fetch.url(raw if "huggingface.co" in address else address))


def _cut(row: Row, fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: row.get(field) for field in fields}


def template(row: Row, **values: object) -> str:
    """The row's template, which follows the placeholder, with the source's texts in it."""
    found = str(row.get("turns")[0]).partition("\n\n")[2]
    if not found:
        raise UnresolvedError("the row has no template")
    return found.format(**values)


def _article(row: Row, sources: Sources) -> list[str]:
    articles = sources.by_id("abisee/cnn_dailymail", "3.0.0/test-*.parquet", ("id", "article"))
    return [template(row, article=articles[row.text("src_id")]["article"])]


def _exam(row: Row, sources: Sources) -> list[str]:
    questions = sources.by_id("cais/hle", "data/test-*.parquet", ("id", "question"), _HLE)
    return [questions[row.text("src_id")]["question"]]


def _live_code(row: Row, sources: Sources) -> list[str]:
    fields = ("question_id", "question_content", "starter_code")
    tasks = sources.by_id("livecodebench/code_generation_lite", "test*.jsonl", fields, _CODE)
    found = tasks[row.text("src_id")]
    return [template(row, question=found[fields[1]], starter_code=found[fields[2]])]


def _contest(row: Row, sources: Sources) -> list[str]:
    fields = ("name", "description")
    tasks = sources.by_id("deepmind/code_contests", "data/test-*.parquet", fields, _CONTESTS)
    return [template(row, question=tasks[row.text("src_id")]["description"])]


def _translation(row: Row, sources: Sources) -> list[str]:
    _, languages, index = row.text("src_id").split("_")
    pattern = f"{languages}/test-*.parquet"
    pairs = sources.of_hub("Helsinki-NLP/opus-100", pattern, ("translation",), _OPUS)
    return [template(row, question=pairs[int(index)]["translation"])]


def _dialogue(row: Row, sources: Sources) -> list[str]:
    index = int(row.text("src_id").rpartition("_")[2])
    return [turn["user"] for turn in sources.of_url(row.text("source"))[index].get("history")]


def _role(row: Row, sources: Sources) -> list[str]:
    parts = row.text("src_id").split("_")
    address = f"{row.text('source')}/{parts[1]}/role_specific/test.jsonl"
    rows = sources.of_url(address)
    asked = [rows[int(part)] for part in parts if part.isdigit()][: len(row.get("turns"))]
    role = asked[0].text("role")
    about = sources.of_url(_ROLES)[0].text(role)
    head = template(row, role_name=role, role_description_and_catchphrases=about)
    later = [item.text("question") for item in asked[1:]]
    cut = [text.removeprefix(f"{role}, ").removeprefix(f" {role},") for text in later]
    return [f"{head}\n{asked[0].text('question')}", *cut]


Fill = Callable[[Row, Sources], list[str]]
FILLED: dict[str, Fill] = {
    "abisee/cnn_dailymail": _article,
    "cais/hle": _exam,
    "livecodebench/code_generation_lite": _live_code,
    "deepmind/code_contests": _contest,
    "mtbench101/mt-bench-101": _dialogue,
    "Helsinki-NLP/opus-100": _translation,
    "ZenMoore/RoleBench": _role,
}
LEFT = (
    "RUCAIBox/BAMBOO",
    "nvidia/ChatRAG-Bench",
    "TIGER-Lab/MMLU-Pro",
    "AdaLEval/stackselect",
    "AdaLEval/textsort",
    "Neph0s/CoSER",
)


def is_placeholder(row: Row) -> bool:
    """Whether the row's prompt is elsewhere."""
    turns = row.get("turns")
    return bool(turns) and str(turns[0]).startswith(PLACEHOLDER)


def source_of(row: Row) -> str:
    """The name of the data set that a row comes from; its address, where it is unknown."""
    told = row.text("source")
    return next((name for name in (*FILLED, *LEFT) if name in told), told)


def fill(row: Row, config: str, sources: Sources) -> list[str]:
    """The turns of a placeholder row; ``UnresolvedError`` says why there are none."""
    name = source_of(row)
    # In the throughput splits its questions are padded with others, drawn at random.
    if name not in FILLED or (name == "cais/hle" and config != "qualitative"):
        raise UnresolvedError(WORDED if name in (*FILLED, *LEFT) else "an unknown source")
    try:
        return FILLED[name](row, sources)
    except UserError as error:
        raise UnresolvedError(str(error)) from None
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise UnresolvedError(f"{type(error).__name__} at {row.maybe('src_id')}") from None
