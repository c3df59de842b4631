"""How well a draft proposes: acceptance lengths, accuracies, calibration. No target forward.

The served proposer drafts at each step's true context along the target's own greedy answers, which
the feature folder holds. Needs held-out answers there, or a folder of held-out prompts (--all).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ...base import TargetModel
from ..command import run_command
from ..features.shards import Source, open_index
from ..progress import shown
from ..target import TargetWeights
from .ablation import short_names
from .accuracy import Accuracy, measure
from .journal import Journal
from .markdown import markdown
from .report import Report, read_curves
from .sequences import Answer, read_answers
from .settings import EvaluateSettings
from .summary import Result, summarise
from .walk import Walker
from .ways import Way, on_device, served, shaped


def main(argv: list[str]) -> int:
    return run_command(EvaluateSettings, work, argv, __doc__)


def work(settings: EvaluateSettings) -> None:
    """Measure and write the report folder; what the journal there holds is not measured again."""
    torch.set_num_threads(settings.threads)
    features = settings.place(settings.features, "features")
    drafts = [settings.place(settings.draft, "draft"), *settings.against]
    out = settings.place(settings.out, "report")
    ways = [way for draft in drafts for way in _ways(draft, settings)]
    _same_target(features, settings)
    answers = read_answers(features, settings.all, settings.sequences)
    target = on_device(TargetWeights(settings.target).model(), settings.device)
    curves = read_curves(settings.place(settings.state, "state") / "curves.csv")
    journal = Journal(out / "journal.jsonl")
    try:
        results, accuracy = _measure(settings, drafts, ways, answers, target, journal)
    finally:
        journal.close()
    report = Report(_about(settings, drafts, features, answers), results, accuracy, curves)
    report.save(out, markdown(report))
    for result in results:
        print(
            f"{result.name}: AL {result.all.pooled:.3f}, {result.nodes_per_step:.1f} nodes a step"
        )
    print(f"report: {out / 'report.md'}", file=sys.stderr)


def _same_target(features: Path, settings: EvaluateSettings) -> None:
    if not (settings.target / "config.json").exists():
        raise ValueError(
            f"target={str(settings.target)!r} holds no config.json; name its directory"
        )
    made_of = open_index(features).target
    if made_of.config_sha256 != Source.of(settings.target, "").config_sha256:
        raise ValueError(
            f"{features} was made of {made_of.name}, whose config.json differs from that of"
            f" target={str(settings.target)!r}; name that target, or other features"
        )


def _ways(draft: Path, settings: EvaluateSettings) -> list[Way]:
    return [
        served(draft, settings.proposer, settings.options),
        *(shaped(draft, shape) for shape in settings.shapes),
    ]


def _measure(
    settings: EvaluateSettings,
    drafts: list[Path],
    ways: list[Way],
    answers: list[Answer],
    target: TargetModel,
    journal: Journal,
) -> tuple[list[Result], dict[str, Accuracy]]:
    """Each way, then each draft's accuracies, with a bar of the tokens that are done."""
    walker = Walker(answers, target, journal, settings.tokens, settings.batch, settings.device)
    whole = sum(answer.walked(0) for answer in answers)
    done, doing = 0, ""
    with shown("evaluate", walker.size() * len(ways) + whole * len(drafts)) as show:

        def advance(tokens: int) -> None:
            nonlocal done
            done += tokens
            show(done, doing)

        results = []
        for number, way in enumerate(ways, 1):
            doing = f"tree {number} of {len(ways)}: {way.name}"
            results.append(summarise(way, answers, *walker.run(way, advance)))
        doing = "accuracies"
        accuracy = {
            str(draft): measure(draft, answers, target, settings.lags, journal, advance)
            for draft in drafts
        }
    return results, accuracy


def _about(
    settings: EvaluateSettings, drafts: list[Path], features: Path, answers: list[Answer]
) -> dict[str, object]:
    walked = sum(answer.walked(settings.tokens) for answer in answers)
    first = f", the first {settings.tokens} tokens of each" if settings.tokens else ""
    about: dict[str, object] = {"draft": str(drafts[0])}
    if len(drafts) > 1:
        names = short_names([str(draft) for draft in drafts])
        about["drafts"] = ", ".join(f"{n}: {draft}" for n, draft in zip(names, drafts, strict=True))
    about["target"] = settings.target_name
    kind = "all greedy" if settings.all else "held-out greedy"
    about["answers"] = f"{len(answers)} {kind} ones of {features}{first}; {walked:,} tokens"
    about["device"] = settings.device
    return about
