"""``python -m eval.latency_bench``: baseline, Hydra, PoE and GLIDE timed back to back.

Everything runs in this process, on one device and one prompt; see docs/latency.md. What is timed
can be imported from here, too; it is loaded when it is asked for, as it needs torch.

What may be asked for: ``options``, ``shapes``. What needs torch: ``models``, with ``prompts``. What
is timed, how, and what the numbers mean: ``benchmarks``, ``harness``, ``stats``. Method after
method, into a folder: ``rows``, ``runner``, ``progress``, ``results``. For people: ``lines`` of
``table`` and ``graph``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmarks import benchmark_decode, benchmark_poe, benchmark_poe_ttft, benchmark_ttft
    from .models import build_baseline_model, build_hydra_model, build_poe, forward_and_sample

__all__ = [
    "benchmark_decode",
    "benchmark_poe",
    "benchmark_poe_ttft",
    "benchmark_ttft",
    "build_baseline_model",
    "build_hydra_model",
    "build_poe",
    "forward_and_sample",
    "main",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "benchmarks" if name.startswith("benchmark") else "models"
    return getattr(import_module(f"{__package__}.{module}"), name)


def _run(argv: list[str] | None) -> int:
    from .options import parse

    options = parse(argv)
    from .runner import Runner  # here, as --help and mistakes need no torch

    return Runner(options).run()


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a user's mistake, 130 Ctrl-C."""
    from ..cli.errors import UserError

    try:
        return _run(argv)
    except ModuleNotFoundError as error:
        told = f"needs {error.name}; install it with: pip install 'longspec-plugin[eval,offline]'"
    except UserError as error:
        told = str(error)
    except KeyboardInterrupt:
        print("latency_bench: stopped by Ctrl-C; what was measured is written", file=sys.stderr)
        return 130
    print(f"latency_bench: error: {told}", file=sys.stderr)
    return 2
