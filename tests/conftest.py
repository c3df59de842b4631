"""What several kinds of tests share: the default target, the shipped draft."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def target_dir() -> Path:
    """The prepared default target; made on first use."""
    script = ROOT / "recipes" / "setup" / "target.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def draft_dir() -> Path:
    """The draft that the repository ships."""
    return ROOT / "recipes" / "smollm2-135m-instruct" / "draft"
