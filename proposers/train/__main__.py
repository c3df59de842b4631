"""The way from a target to a draft that fits it, in four commands.

    python -m proposers.train answers  --target MODEL --server URL   the target answers prompts
    python -m proposers.train features --target MODEL                what the draft will read of it
    python -m proposers.train train    --target MODEL                the draft itself
    python -m proposers.train evaluate --target MODEL                how well it proposes

and `export`, to the layout of the published LongSpec drafts. Each goes on where it was stopped, and
tells its options with `--help`; `--recipe FILE` keeps all choices in one file (docs/training.md).
"""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("answers", "features", "train", "evaluate", "export")


def main(argv: list[str] | None = None) -> int:
    """Run one command; exit status 2 for a wrong option, 130 when stopped by Ctrl-C."""
    given = sys.argv[1:] if argv is None else argv
    if not given or given[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if given else 2
    name, *rest = given
    if name not in COMMANDS:
        allowed = ", ".join(COMMANDS)
        print(f"train: error: command {name!r} is unknown; allowed: {allowed}", file=sys.stderr)
        return 2
    # late: each command needs its own libraries only
    module = import_module(f".{'trainer' if name == 'train' else name}.run", __package__)
    status: int = module.main(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
