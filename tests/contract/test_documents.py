"""What the documents name exists: files, headings, make targets, options, environment variables."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from longspec_plugin.vllm.runners import UNPROVEN
from proposers.train.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("*.md", "docs/**/*.md", "recipes/**/*.md")
DOCUMENTS = sorted(path for place in PLACES for path in ROOT.glob(place))
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links(document: Path) -> None:
    """Every link to a file leads to one."""
    links = [link.partition("#")[0] for link in LINK.findall(document.read_text())]
    local = [link for link in links if link and "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def anchors(document: Path) -> set[str]:
    """What a link may name behind ``#``: headings in small letters, dashes for spaces."""
    heads = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    bare = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in bare}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_within_documents(document: Path) -> None:
    """Every link to a heading leads to one."""
    links = [link.partition("#") for link in LINK.findall(document.read_text())]
    lost = [
        f"{file}#{anchor}"
        for file, _, anchor in links
        if anchor and "://" not in file and (not file or file.endswith(".md"))
        if anchor not in anchors(document.parent / file if file else document)
    ]
    assert lost == []


def test_the_evaluation_is_a_dozen_entries_and_each_is_told_of() -> None:
    """Commands and rooms alone; CONTRIBUTING or the architecture has a link into each."""
    entries = [p for p in (ROOT / "eval").iterdir() if p.name not in ("py.typed", "__pycache__")]
    named = sorted(p.name for p in entries if p.name != "__init__.py")
    assert len(named) <= 12
    text = (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "docs/architecture.md").read_text()
    commands = {"compare.py", "prepare_data.py"}
    assert [name for name in named if f"eval/{name}" not in text and name not in commands] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_commands(document: Path) -> None:
    named = set(re.findall(r"`make ([a-z-]+)", document.read_text()))
    named |= set(re.findall(r"^make ([a-z-]+)", document.read_text(), re.MULTILINE))
    assert named <= MAKE_TARGETS


@pytest.mark.parametrize(
    "name",
    [
        *("eval.speed_bench", "eval.compare", "eval.prepare_data", "eval.long_bench", "eval.aime"),
        *("eval.latency_bench", "recipes.hydra.heads"),
        *(f"proposers.train {name}" for name in COMMANDS),
        *("recipes.offline.step", "recipes.train.ablation", "recipes.train.shapes", "recipes.gpu"),
    ],
)
def test_named_options_exist(name: str) -> None:
    """Options that the documents give to a command are in its ``--help``."""
    command = [sys.executable, "-m", *name.split(), "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z][a-z-]*", text))
    for document in DOCUMENTS:
        joined = re.sub(r" +", " ", document.read_text().replace("\\\n", " "))
        for line in joined.splitlines():
            if f"-m {name} " in line:
                used = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", line.split(name, 1)[1]))
                assert used <= known, f"{document.name}: {line}"


def test_readme_first_screen() -> None:
    """Within the first 40 lines: both commands, the serving line, the way of the data."""
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    for piece in ("make bench", "make test", "vllm serve", '"method": "longspec"', "bench-table"):
        assert piece in first
    for file in ("proposers/base.py", "proposers/tree.py", "proposers/acceptance.py"):
        assert f"({file})" in first


@pytest.mark.parametrize(
    "document",
    ["README.md", "docs/vllm.md", "recipes/smollm2-135m-instruct/draft/README.md"],
)
def test_what_is_unproven_is_said_in_the_servers_words(document: str) -> None:
    text = " ".join((ROOT / document).read_text().split())
    assert UNPROVEN in text


def test_make_help_lists_every_target() -> None:
    command = ["make", "--no-print-directory", "help"]  # also when make itself runs the tests
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert listed == MAKE_TARGETS
