"""Offline samples as records and results of the schema that served runs have.

Each method is an arm, each task a category. Prefill is not timed, so latency is decoding alone,
there is no TTFT, and TPOT is decoding over all tokens but the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..numbers import metrics
from ..numbers.runs import ArmRun
from ..numbers.summary import summarise
from ..records.counters import at_least
from ..records.requests import RequestRecord
from ..records.results import Results, Warned
from ..report import write
from .records import RecordBook, SampleRecord

ARMS = {"vanilla": "vanilla", "seq": "chain", "tree": "tree"}
OWN = ("method", "draft", "tree_shape", "gamma")  # settings in which arms may differ


def as_request(sample: SampleRecord, started: float) -> RequestRecord:
    """A sample as a request that was sent at ``started``."""
    drafts, told = sample.method != "vanilla", sample.step_accepted
    histogram = [(told or []).count(j) for j in range(1 + max(told or [0]))]
    milliseconds = 1e3 * sample.seconds
    return RequestRecord(
        arm=ARMS[sample.method],
        prompt_id=f"{sample.task}-{sample.id}",
        category=sample.task,
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        finish_reason=sample.finish_reason,
        started=started,
        latency_ms=milliseconds,
        tpot_ms=metrics.tpot_ms(milliseconds, 0.0, sample.completion_tokens),
        steps=sample.steps if drafts else None,
        accepted=sample.accepted if drafts else None,
        drafted=sample.drafted,
        per_position=at_least(histogram) if told else None,
        step_accepted=told,
        text=sample.text,
        text_sha256=sample.text_sha256,
    )


def run_of(method: str, samples: Iterable[SampleRecord], depth: int | None = None) -> ArmRun:
    """Samples of one method, one after the other; warm-ups are left out."""
    started, records = 0.0, []
    for sample in samples:
        if not sample.warmup:
            records.append(as_request(sample, started))
            started += sample.seconds
    return ArmRun(ARMS[method], depth=depth, speculates=method != "vanilla", records=records)


def depth_of(method: str, settings: Mapping[str, Any]) -> int | None:
    """The depth of a method's drafts, by its settings."""
    shape = settings.get("tree_shape") or []
    return {"tree": len(shape), "seq": settings.get("gamma")}.get(method)


def cut(arm: str, samples: Iterable[SampleRecord]) -> list[Warned]:
    """A warning that names the prompts that were cut, if there are any."""
    found = [sample for sample in samples if sample.prompt_cut]
    if not found:
        return []
    names = ", ".join(f"{sample.task}-{sample.id}" for sample in found)
    most = max(sample.prompt_cut for sample in found)
    text = (
        f"{len(found)} prompts lost their middle to fit --max-prompt-len, up to {most} tokens of"
        f" it, so they are not the data set's own: {names}"
    )
    return [Warned(name="prompts_cut", arm=arm, message=text)]


def write_results(
    folder: Path, books: Sequence[RecordBook], provenance: Mapping[str, Any]
) -> list[Warned]:
    """results.json and the reports, of all methods that ran here with the same settings.

    Returns:
        Their warnings.
    """
    tasks = {book.settings["task"]: book for book in books}
    runs, warnings = [], []
    for method in ARMS:
        alike = [found for book in tasks.values() if (found := book.alike(method, OWN))]
        samples = [sample for found in alike for sample in found]
        if samples:
            runs.append(run_of(method, samples, depth_of(method, books[0].settings_of(method))))
            warnings += cut(ARMS[method], samples)
    if not any(run.records for run in runs):  # warm-up alone
        return warnings
    vanilla = next((run for run in runs if run.name == "vanilla"), None)
    results = Results(
        complete=True,
        arms=[summarise(run, vanilla) for run in runs if run.records],
        warnings=warnings,
        provenance=dict(provenance),
    )
    write(results, [record for run in runs for record in run.records], folder)
    return warnings
