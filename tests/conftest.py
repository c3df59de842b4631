"""What every test may ask for: the default target and the draft that ships with it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from recipes.setup import target

settings.register_profile("project", deadline=None)  # machines are shared; time is not the point
settings.load_profile("project")

# A shell's background jobs ignore Ctrl-C, and so would all programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


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
