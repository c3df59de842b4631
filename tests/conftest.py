"""What every test may ask for: the default target and the draft that ships with it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from recipes.setup import target

settings.register_profile("project", deadline=None)  # machines are shared; time is not the point
settings.load_profile("project")

# A shell's background jobs ignore Ctrl-C, and so would all programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


class ServersShared(LoadScopeScheduling):
    """With ``pytest -n``, a process takes all tests of an engine, or those of another file."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return str(file.parent if "engine" in file.parts else file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Model Runner V2's engine tests first: they take longest, and little memory. The other two
    folders, each of which serves three models at once, then rarely run beside each other."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/engine/v2/"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ServersShared:
    return ServersShared(config, log)


@pytest.fixture(scope="session")
def target_dir() -> Path:
    """The default target, prepared when it is not there yet."""
    return target.prepare()


@pytest.fixture(scope="session")
def draft_dir() -> Path:
    """The draft of the default target."""
    folder = ROOT / "recipes" / "smollm2-135m-instruct" / "draft"
    if not (folder / "config.json").is_file():
        pytest.fail(f"{folder} holds no draft")
    return folder
