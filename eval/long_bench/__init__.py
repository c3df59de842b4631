"""``python -m eval.long_bench``: LongBench's long prompts on a target with a GLIDE draft.

Everything runs in this process, without a server; see docs/offline_eval.md. ``model`` alone imports
torch, transformers and ``proposers``. ``eval.aime`` runs its ``problems`` with the same ``runner``.
"""

from __future__ import annotations

COMMAND = "long_bench"
ABOUT = "Generate on LongBench prompts with a target and its GLIDE draft, one prompt at a time."


def _run(argv: list[str] | None) -> int:
    from . import options, tasks  # here, as only this command may pay for it

    parser = options.parser(COMMAND, ABOUT, max_gen_len=256, output_dir="./long-bench_results")
    parser.add_argument(
        "--task",
        choices=[*tasks.TASKS, "all"],
        default="gov_report",
        help="task of LongBench (default: %(default)s)",
    )
    parser.add_argument(
        "--test-length",
        type=options.whole(1),
        metavar="N",
        help="samples of a task, the warm-up included (default: all)",
    )
    given = vars(parser.parse_args(argv))
    chosen = options.Options.of(given)
    data = tasks.load(given["task"], chosen.data_path, given["test_length"])
    with options.needed():
        from .runner import Runner
    return Runner(COMMAND, chosen, data).run()


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 done, 2 a user's mistake, 130 Ctrl-C."""
    from .options import guarded

    return guarded(COMMAND, lambda: _run(argv))
