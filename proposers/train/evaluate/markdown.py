"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .report import Report
from .summary import parts
from .tables import table
from .ways import SERVED


def markdown(report: Report) -> Iterator[str]:
    yield f"# Draft {report.about['draft']}"
    yield ""
    yield from (f"- {name}: {value}" for name, value in report.about.items())
    for section in (_lengths, _ablation, _categories, _depths, _accuracy, _calibration, _curves):
        lines = list(section(report))
        if lines:
            yield ""
            yield from lines


def _lengths(report: Report) -> Iterator[str]:
    yield "## Acceptance length"
    yield ""
    head = ("tree", "most nodes", "nodes a step", "AL, pooled", "AL, mean of answers")
    rows = [
        (
            label,
            r.nodes,
            f"{r.nodes_per_step:.1f}",
            f"{r.all.pooled:.3f}",
            f"{r.all.mean:.3f} [{r.all.low:.3f}, {r.all.high:.3f}]",
            f"{r.all.effective:.3f}",
            r.all.steps,
            f"{r.draft_ms:.1f}",
        )
        for label, r in report.labelled(report.results)
    ]
    yield from table([*head, "effective AL", "steps", "draft ms"], rows)
    yield ""
    yield "AL = 1 + accepted / steps, simulated on the target's own greedy answers; in brackets the"
    yield "95% bootstrap interval over answers. Steps whose draft was pruned to nothing are left"
    yield "out, as in engines; effective AL counts all. Draft ms: lower quartile of wall time of"
    yield f"drafting for one request on this machine ({report.about['device']})."
    for label, r in report.labelled(report.results):
        if r.name == SERVED:
            options = ", ".join(f"{k} {v}" for k, v in r.options.items())
            yield f"`{label}` is `{r.proposer}` with {options or 'its defaults'}."
    yield ""
    yield "![acceptance lengths](lengths.png)"


def _ablation(report: Report) -> Iterator[str]:
    if report.ablation is None:
        return
    base = report.ablation.base
    yield "## Ablation"
    yield ""
    yield f"Each draft against `{base.name}`: AL are means over answers, differences of the first"
    yield "tree are paired by answer, with a 95% bootstrap interval. Changes are those that the"
    yield "drafts' `training.json` tell of."
    yield ""
    yield from report.ablation.markdown()
    yield ""
    yield "![ablation](ablation.png)"


def _categories(report: Report) -> Iterator[str]:
    yield "## Acceptance length by category"
    yield ""
    labelled = report.labelled(report.results)
    rows = [
        (name, part.answers, *(f"{r.by_category[name].pooled:.2f}" for _, r in labelled))
        for name, part in report.results[0].by_category.items()
    ]
    total = (report.results[0].all.answers, *(f"{r.all.pooled:.2f}" for _, r in labelled))
    yield from table(["category", "answers", *(n for n, _ in labelled)], [*rows, ("all", *total)])
    yield ""
    yield "![by category](categories.png)"


def _depths(report: Report) -> Iterator[str]:
    yield "## Acceptance by depth"
    yield ""
    deepest = max(len(r.by_depth) for r in report.results)
    rows: list[tuple[str, ...]] = []
    for label, r in report.labelled(report.results):
        shares = [f"{100 * share:.1f}%" for share in r.by_depth]
        rows.append((label, *shares, *[""] * (deepest - len(shares))))
    yield from table(["steps that accepted a node at depth", *range_of(deepest)], rows)
    yield ""
    yield "![by depth](depths.png)"


def _accuracy(report: Report) -> Iterator[str]:
    if not report.accuracy:
        return
    yield "## Accuracy by lag"
    yield ""
    yield "Share of answer positions whose next token is among the draft's best k, given the true"
    yield "text up to it; at lag j the target's keys and state end j tokens before it."
    yield ""
    first = next(iter(report.accuracy.values()))
    lags = len(next(iter(first.all.values())))
    many = len(report.accuracy) > 1
    rows = [
        (f"{report.names[draft]}: {top}" if many else top, *_percent(shares))
        for draft, part in report.accuracy.items()
        for top, shares in part.all.items()
    ]
    yield from table(["lag", *range_of(lags)], rows)
    yield ""
    rows = [
        (f"{name}, {top}", *_percent(shares))
        for name, group in first.by_category.items()
        for top, shares in group.items()
        if top == "top-1"
    ]
    yield from table(["lag", *range_of(lags)], rows)
    yield ""
    losses = ", ".join(f"{value:.3f}" for value in first.loss)
    yield f"The draft's vocabulary holds {100 * first.coverage:.1f}% of these tokens; of those its"
    yield f"mean loss by lag, in nats, is {losses}."
    yield ""
    yield "![accuracy](accuracy.png)"


def _calibration(report: Report) -> Iterator[str]:
    yield "## Calibration"
    yield ""
    yield "Trees are built from the draft's probabilities: here they are beside what the target"
    yield f"did, by decile of probability, with the tree {report.calibrated.name}."
    for title, part in parts(report.calibrated).items():
        yield ""
        rows = [
            (f"{d.low:.1f} to {d.high:.1f}", f"{d.predicted:.3f}", f"{d.observed:.3f}", d.count)
            for d in part.deciles
        ]
        yield f"{title} (expected calibration error {part.error:.4f}):"
        yield ""
        yield from table(["predicted", "mean predicted", "accepted", "nodes"], rows)
    yield ""
    errors = [
        (label, *(cell for c in parts(r).values() for cell in (f"{c.error:.3f}", _ratio(c.bias))))
        for label, r in report.labelled(report.results)
    ]
    head = ["node: error", "predicted / observed", "path: error", "predicted / observed"]
    yield from table(["tree", *head], errors)
    yield ""
    yield "![calibration](calibration.png)"


def _curves(report: Report) -> Iterator[str]:
    if not report.curves:
        return
    yield "## Training"
    yield ""
    last = report.curves[-1]
    yield from table(list(last), [[f"{value:g}" for value in last.values()]])
    yield ""
    yield "![training curves](curves.png)"


def range_of(count: int) -> list[str]:
    return [str(i) for i in range(1, count + 1)]


def _percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f}%" for share in shares]


def _ratio(value: float | None) -> str:
    return "none accepted" if value is None else f"{value:.3f}"
