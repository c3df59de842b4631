"""``python -m eval.speed_bench``: serve a target with and without speculation, and compare."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

from ..cli.errors import Terminated, UserError
from ..cli.parsing import parse
from .bench import Bench


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(signal.Signals(number).name)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a user's mistake, 130 Ctrl-C, 143 terminated."""
    before: dict[Any, Any] = {}
    try:
        for kind in (signal.SIGTERM, signal.SIGHUP):
            before[kind] = signal.signal(kind, _terminate)
        bench = Bench(parse(argv))
        bench.run()
        return 0 if any(not record.error for record in bench.journal.records) else 1
    except UserError as error:
        print(f"speed_bench: {error}", file=sys.stderr)
        return 2
    except Terminated as error:
        print(f"speed_bench: stopped by {error}; servers are down", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("speed_bench: stopped by Ctrl-C; servers are down", file=sys.stderr)
        return 130
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
