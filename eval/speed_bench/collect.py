"""From what lies on disk to the results of a run."""

from __future__ import annotations

from collections.abc import Sequence

from ..cli.options import Options
from ..cli.sweep import Condition, Place, label
from ..numbers.guards import inspect
from ..numbers.runs import ArmRun
from ..numbers.summary import summarise
from ..records.journal import Journal
from ..records.results import Results, Warned
from ..servers.arms import Arm
from .control import wanted
from .server_files import ServerFiles


def collect(options: Options, arms: Sequence[Arm], journal: Journal, files: ServerFiles) -> Results:
    """All numbers of what there is, conditions in order and arms within; not yet complete."""
    pairs = [(arm, condition) for condition in options.conditions for arm in arms]
    runs = [_run(options, arms, arm, condition, journal, files) for arm, condition in pairs]
    there = [run for run in runs if run.records]
    base = {run.condition: run for run in there if run.name == "vanilla"}
    results = Results(complete=False, arms=[], warnings=_too_long(journal), provenance={})
    for run in there:
        result = summarise(run, base.get(run.condition), options.limits)
        results.arms.append(result)
        results.warnings += inspect(run, result.lossless)
    return results


def _run(
    options: Options,
    arms: Sequence[Arm],
    arm: Arm,
    condition: Condition,
    journal: Journal,
    files: ServerFiles,
) -> ArmRun:
    records = [
        record
        for round_ in range(options.rounds)
        for record in journal.known(Place(arm.name, round_, condition)).values()
    ]
    run = ArmRun(
        arm.name,
        condition,
        label(arm.name, condition, options.conditions),
        depth=arm.depth,
        nodes=arm.nodes,
        speculates=arm.speculates,
        source=options.metrics_source,
        records=records,
        windows=[w for w in journal.windows if (w.arm, w.place.condition) == (arm.name, condition)],
    )
    if arm.name == "vanilla":
        run.control = list(journal.controlled(condition).values())
        run.controlled = wanted(options, arms, arm, condition)
    files.read(arm, run)
    return run


def _too_long(journal: Journal) -> list[Warned]:
    long = {window.arm: window.too_long for window in journal.windows if window.too_long}
    return [
        Warned(
            name="prompt_too_long",
            arm=arm,
            message=f"{len(ids)} prompts do not fit the context beside --output-len and were not"
            f" sent: {', '.join(ids)}",
        )
        for arm, ids in long.items()
    ]
