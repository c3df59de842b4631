"""``python -m eval.aime``: AIME problems on a target with a GLIDE draft, graded.

Everything runs in this process, without a server; see docs/offline_eval.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

COMMAND = "aime"
FOLDER = "./aime_results"
LOG = Path("./long-bench_results/output_aime.txt")  # where LongSpec's own script writes it
ABOUT = "Solve AIME problems with a target and its GLIDE draft, one at a time, and grade them."


def _run(argv: list[str] | None) -> int:
    from .long_bench import options, problems  # here, as only this command may pay for it

    parser = options.parser(COMMAND, ABOUT, max_gen_len=1024, output_dir=FOLDER)
    parser.set_defaults(log=LOG)
    for name, text in (("min", "first"), ("max", "last")):
        parser.add_argument(
            f"--id-{name}",
            type=options.whole(0),
            metavar="N",
            help=f"the {text} problem's id, itself included (default: no bound)",
        )
    given = vars(parser.parse_args(argv))
    if given["log"] is LOG and str(given["output_dir"]) != str(Path(FOLDER)):
        given["log"] = None  # beside the results, which the user wants elsewhere
    chosen = options.Options.of(given)
    data = problems.load(chosen.data_path, given["id_min"], given["id_max"])
    with options.needed():
        from .long_bench.runner import Runner
    # Not the last id: a later one only adds problems.
    return Runner(COMMAND, chosen, [data], {"id_min": given["id_min"]}, problems.grade).run()


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a user's mistake, 130 Ctrl-C."""
    from .long_bench.options import guarded

    return guarded(COMMAND, lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())
