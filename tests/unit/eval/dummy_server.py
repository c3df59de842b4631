"""Stands in for an engine: starts children, then serves, dies or waits, as told."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from .fake import Script, serving
from .fake_sglang import SglangScript

CHILD = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
orphan = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])
print(orphan.pid, flush=True)
time.sleep(100)
"""
MODES: dict[str, dict[str, Any]] = {"slow": {"delay": 0.2}, "core_dies": {"core_dies_after": 5}}
SPECULATES = {"--speculative-config", "--speculative-algorithm"}


def main() -> None:
    """DUMMY_MODE: serve, slow, die (at once), die_later (after five answers), core_dies (likewise,
    the process stays) or hang. DUMMY_SCRIPT, and DUMMY_DRAFTING for servers that speculate: fields
    of the script as JSON. A server without flags for speculation has none. Its child is the engine.
    """
    mode, pids = os.environ["DUMMY_MODE"], Path(os.environ["DUMMY_PIDS"])
    if mode == "die":
        print("loading\n\nValueError: the draft is for another target", flush=True)
        sys.exit(3)
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with pids.open("a") as file:
        file.write(f"{os.getpid()} {child.pid} {child.stdout.readline().strip()}\n")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # leaves its children behind
    if mode == "hang":
        time.sleep(100)
    script, port = _told(mode)
    with serving(script, port):
        while mode != "die_later" or len(script.seen) < 5:
            time.sleep(0.02)
            script.core_dead |= child.poll() is not None
        print("EngineDeadError: core gone", flush=True)
        os._exit(1)


def _told(mode: str) -> tuple[Script, int]:
    """The script and the port that the command line and the environment ask for."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int)
    parser.add_argument("--export-metrics-to-file-dir", type=Path)
    told = parser.parse_known_args()[0]
    drafting = bool(SPECULATES & set(sys.argv))
    fields: dict[str, Any] = {} if drafting else {"histogram": None}
    fields |= MODES.get(mode, {})
    fields |= json.loads(os.environ.get("DUMMY_SCRIPT", "{}"))
    if drafting:
        fields |= json.loads(os.environ.get("DUMMY_DRAFTING", "{}"))
    if "--enable-metrics" not in sys.argv:
        return TypeAdapter(Script).validate_json(json.dumps(fields)), told.port
    script = TypeAdapter(SglangScript).validate_json(json.dumps(fields))
    script.export = told.export_metrics_to_file_dir
    return script, told.port


if __name__ == "__main__":
    main()
