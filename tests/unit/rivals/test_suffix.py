"""Preparing the suffix tree of Arctic Inference: whole or not at all, and once."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from recipes.setup import suffix
from recipes.setup.console import SetupError
from recipes.setup.runner import Runner


class FakeRunner(Runner):
    """``pip download`` that leaves a source, and a compilation that leaves a module."""

    package = suffix.PACKAGE

    def pip(self, *arguments: str) -> None:
        work = Path(arguments[arguments.index("--dest") + 1])
        source = work / "unpacked" / f"{self.package}-{suffix.VERSION}"
        names = [name.replace(suffix.PACKAGE, self.package) for name in suffix.FILES]
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(name)
        with tarfile.open(work / "source.tar.gz", "w:gz") as archive:
            archive.add(source, source.name)

    def run(self, command, name):  # type: ignore[no-untyped-def]
        if "--build" in command:
            module = Path(command[-1]) / Path(suffix.extension()).name
            module.parent.mkdir()
            module.write_bytes(b"compiled")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(suffix, "Runner", FakeRunner)
    monkeypatch.setattr(suffix.venv, "create", lambda *_, **__: None)
    return tmp_path / "cache"


def test_prepared_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = suffix.prepare()
    assert folder == suffix.suffix_folder()
    assert suffix.complete(folder)
    assert (folder / suffix.FILES[1]).read_text() == suffix.FILES[1]
    monkeypatch.setattr(suffix, "Runner", None)
    assert suffix.prepare() == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", [*suffix.FILES, suffix.extension()])
def test_a_file_that_is_missing_is_made_again(name: str) -> None:
    folder = suffix.prepare()
    (folder / name).unlink()
    assert not suffix.complete(folder)
    assert suffix.complete(suffix.prepare())


def test_another_source_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRunner, "package", "other")
    with pytest.raises(SetupError, match="came without arctic_inference"):
        suffix.prepare()
    assert not list(cache.iterdir())
