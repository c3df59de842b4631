"""What one arm left behind under one condition, and its speculation by the source that tells of it.

response: what the server says with each answer; server: the difference of its counters; file:
what it writes of each request. ``--metrics-source`` chooses whose numbers lead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..cli.sweep import Condition
from ..records.counters import Counters, SpecStats, add_positions, trim
from ..records.requests import ControlRecord, RequestRecord
from ..records.windows import WindowRecord
from . import metrics


@dataclass
class ArmRun:
    """What one arm left behind under one condition, over all rounds."""

    name: str
    condition: Condition = field(default_factory=Condition)
    label: str = ""
    depth: int | None = None
    speculates: bool | None = None  # whether its server was told to; None where not known
    source: str = "response"
    records: list[RequestRecord] = field(default_factory=list)
    windows: list[WindowRecord] = field(default_factory=list)
    control: list[ControlRecord] = field(default_factory=list)
    controlled: bool = False  # whether it was to have a control
    filed: dict[str, SpecStats] | None = None  # by request id; None where no file is read
    cycles: list[dict[str, float]] = field(default_factory=list)
    choices: list[dict[str, Any]] = field(default_factory=list)  # steps that followed the load
    nodes: int | None = None  # drafted tokens of each step, where that is always the same
    sampling: str | None = None  # server or neutral; None where nothing was sent
    defaults: dict[str, Any] | None = None  # the server's for sampling; None where not known
    reasons: dict[str, int] = field(default_factory=dict)  # why requests had no drafts

    @property
    def good(self) -> list[RequestRecord]:
        """Records without an error."""
        return [record for record in self.records if not record.error]

    @property
    def spans(self) -> list[tuple[float, float]]:
        """When each request was in flight, in seconds since 1970."""
        return [
            (r.started, r.started + (r.latency_ms or 0.0) / 1e3)
            for r in self.records
            if r.started is not None
        ]

    @property
    def seconds(self) -> float:
        """Time with a request in flight; holds also for a run that was taken up again."""
        return metrics.busy_seconds(self.spans)

    @property
    def counters(self) -> Counters | None:
        """Sum over the windows that closed; None if there is none, or one could not be read."""
        found = [window.counted for window in self.closed]
        if not found or None in found:
            return None
        return sum((counted for counted in found if counted), Counters())

    @property
    def closed(self) -> list[WindowRecord]:
        """Windows at whose end the server still counted, or at least lived to their end."""
        return [window for window in self.windows if window.counted or not window.failed]

    @property
    def told(self) -> bool:
        """Whether the server told of each request's speculation."""
        return any(record.steps is not None for record in self.records)

    @property
    def by_request(self) -> bool:
        """Whether the leading source tells of single requests."""
        return self.source == "file" or (self.source == "response" and self.told)

    @property
    def counted(self) -> list[RequestRecord]:
        """Good records with what the leading source tells of each."""
        return self.from_file if self.source == "file" else self.good

    @property
    def from_file(self) -> list[RequestRecord]:
        """Good records with the speculation that the server's file tells."""
        filed = self.filed or {}
        return [_with(record, filed.get(record.request_id or "")) for record in self.good]

    @property
    def not_filed(self) -> list[RequestRecord]:
        """Good records that the server's file should hold and does not."""
        if self.filed is None:
            return []
        return [record for record in self.good if record.request_id not in self.filed]

    @property
    def by_category(self) -> dict[str, list[RequestRecord]]:
        """``counted``, by category in alphabetical order."""
        groups: dict[str, list[RequestRecord]] = defaultdict(list)
        for record in self.counted:
            groups[record.category].append(record)
        return dict(sorted(groups.items()))


def _with(record: RequestRecord, stats: SpecStats | None) -> RequestRecord:
    nothing = dict.fromkeys(each.name for each in fields(SpecStats))
    return record.model_copy(update=asdict(stats) if stats else nothing)


def undrafted(run: ArmRun) -> list[RequestRecord]:
    """Good answers of several tokens without a single draft, as far as the server tells.

    vLLM says nothing with such an answer where it does with others; SGLang's files say zero. Where
    a server does not tell of requests at all, its counters tell of none or of all.
    """
    if run.speculates is False:
        return []
    several = [record for record in run.counted if record.completion_tokens > 1]
    if run.by_request:
        silence = (0,) if run.source == "file" else (0, None)
        return [record for record in several if record.steps in silence]
    sums = run.counters
    return several if sums and sums.offered and not sums.steps else []


def totals(run: ArmRun) -> Counters:
    """Speculation by the leading source; counters stand in where responses do not tell."""
    return of_records(run.counted) if run.by_request else run.counters or Counters()


def of_records(records: Sequence[RequestRecord]) -> Counters:
    """Sums over requests in the form of the server's counters."""
    drafts_told = all(r.drafted is not None for r in records if r.steps)
    return Counters(
        sum(r.steps or 0 for r in records),
        sum(r.drafted or 0 for r in records) if drafts_told else None,
        sum(r.accepted or 0 for r in records),
        trim(add_positions([r.per_position or [] for r in records])),
        sum(r.completion_tokens for r in records),
    )


def acceptance_length(sums: Counters) -> float | None:
    """``1 + accepted / steps``; where accepted is not counted, ``tokens / steps``.

    The latter carries the token of each prefill and what was cut off at an answer's end.
    """
    if sums.accepted is None:
        return metrics.ratio(sums.completion_tokens, sums.steps)
    return metrics.acceptance_length(sums.steps, sums.accepted)


def lengths_by_source(run: ArmRun) -> dict[str, float]:
    """Pooled acceptance length of every source that tells of speculation."""
    told = {"response": of_records(run.good)}
    if run.counters and not run.counters.went_back:
        told["server"] = run.counters
    told["file"] = of_records(run.from_file)
    lengths = {name: acceptance_length(sums) for name, sums in told.items()}
    return {name: length for name, length in lengths.items() if length is not None}
