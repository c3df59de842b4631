"""Stands in for an engine: starts children, then serves, dies or waits, as told."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .fake import Script, serving
from .fake_sglang import SglangScript

CHILD = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
orphan = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])
print(orphan.pid, flush=True)
time.sleep(100)
"""


def main() -> None:
    """DUMMY_MODE: serve, slow, die (at once), die_later (after five answers) or hang."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int)
    parser.add_argument("--export-metrics-to-file-dir", type=Path)
    told = parser.parse_known_args()[0]
    port, export = told.port, told.export_metrics_to_file_dir
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
    delay = 0.2 if mode == "slow" else 0.0
    sglang = "--enable-metrics" in sys.argv
    script = SglangScript(delay=delay, export=export) if sglang else Script(delay=delay)
    with serving(script, port):
        while mode in ("serve", "slow") or len(script.seen) < 5:
            time.sleep(0.02)
        print("EngineDeadError: core gone", flush=True)
        os._exit(1)


if __name__ == "__main__":
    main()
