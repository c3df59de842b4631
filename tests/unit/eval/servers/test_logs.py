"""What is quoted from the log of a server that died."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.servers.logs import last_line, last_words

HEAD = "(Worker pid=7) ERROR 11-21 06:59:29 [executor.py:10] "
CASES = {
    "a line of our own after chatter": (
        "(APIServer pid=7) INFO 11-21 06:56:55 [utils.py:286] args: OSError: none\n"
        "(APIServer pid=7) WARNING 11-21 06:56:55 [utils.py:25] ulimit, `OSError: [Errno 24]`\n"
        "longspec: tree_shape=[99, 99]: 198 nodes; at most 128 are allowed\n",
        "last lines: longspec: tree_shape=[99, 99]: 198 nodes; at most 128 are allowed",
    ),
    "a cause far above": (
        f"{HEAD}    raise ValueError(\n{HEAD}ValueError: too little memory\n"
        "Traceback (most recent call last):\n  File x\n    raise RuntimeError(\n"
        "RuntimeError: Engine core failed. See root cause above.\n"
        "/lib/tracker.py:254: UserWarning: leaked objects\n  warnings.warn('leaked')\n",
        "first error: ValueError: too little memory; last lines: File x | raise RuntimeError("
        " | RuntimeError: Engine core failed. See root cause above.",
    ),
    "an error over several lines": (
        "pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, 99999 is greater than 8192\n"
        "    For further information visit https://errors.example\n",
        "last lines: pydantic_core.ValidationError: 1 validation error for ModelConfig"
        " | Value error, 99999 is greater than 8192",
    ),
    "an error of SGLang's, and what follows from it": (
        "[2026-11-21 12:48:58] Load weight end. elapsed=3.23 s\n"
        "[2026-11-21 12:49:03 TP0] Scheduler hit an exception: Traceback\n"
        "    from sgl_kernel import x\nModuleNotFoundError: No module named 'sgl_kernel'\n\n"
        "[2026-11-21 12:49:03] Received sigquit from a child process. It usually means a failure.\n"
        "[2026-11-21 12:49:03] kill_process_tree called: parent_pid=2362\n",
        "last lines: Scheduler hit an exception: Traceback | from sgl_kernel import x"
        " | ModuleNotFoundError: No module named 'sgl_kernel'",
    ),
    "nothing": ("\n", "last lines: "),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_last_words(text: str, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(text)
    assert last_words(log) == expected


def test_last_line_is_without_head(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(
        "(APIServer pid=7) INFO 11-21 06:56:55 [utils.py:286] Loading weights\n"
        "\n  warnings.warn('x')\n"
    )
    assert last_line(log) == "Loading weights"
    assert last_line(tmp_path / "none") == ""
