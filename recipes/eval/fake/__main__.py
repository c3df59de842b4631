"""``python -m recipes.eval.fake --script '{"words": ["a", " b"]}'``: serve, and say where."""

from __future__ import annotations

import argparse
import signal

from pydantic import TypeAdapter

from .script import BaseScript
from .server import serving
from .sglang import SglangScript
from .vllm import Script


def main() -> None:
    """Serve until terminated; the first line of stdout is the address."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    parser.add_argument("--script", default="{}", help="fields of the script, as JSON")
    parser.add_argument("--sglang", action="store_true", help="speak as SGLang")
    told = parser.parse_args()
    kind: type[BaseScript] = SglangScript if told.sglang else Script
    script = TypeAdapter(kind).validate_json(told.script)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    with serving(script, told.port) as url:
        print(url, flush=True)
        signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    main()
