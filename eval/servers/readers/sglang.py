"""SGLang: counters, ``sglext.spec_tokens_details`` of a response, and its files of requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ...records.counters import Counters, SpecStats, at_least
from ...records.jsontext import parsed

_TOKENS = "sglang:generation_tokens_total"
_STEPS = "sglang:spec_verify_calls_total"
# Each with the name that versions before 0.5.23 used.
_ACCEPTED = ("spec_num_correct_drafts", "spec_accept_token_num")
_DRAFTED = ("spec_num_proposed_drafts", "spec_draft_token_num")
_HISTOGRAM = ("spec_correct_drafts_histogram", "spec_accept_histogram")

REQUEST: dict[str, Any] | None = {"return_spec_tokens_details": True}


class SglangReader:
    """Reads SGLang 0.5.23 and later, and files of earlier ones.

    SGLang tells as drafted ``(num_draft_tokens - 1) x steps``: every node that the tree may have,
    also where a smaller one was drafted.
    """

    request = REQUEST

    def counters(self, exposition: str) -> Counters | None:
        """Sum over all labels. Accepted tokens are not counted, and gauges never read.

        ``sglang:spec_accept_length`` and its like are of SGLang's last interval only. A counter
        without a value yet is missing, so any line of SGLang's tells that it is there.
        """
        sums: dict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                sums[sample.name] += sample.value
        if not any(name.startswith("sglang:") for name in sums):
            return None
        return Counters(int(sums[_STEPS]), None, None, completion_tokens=int(sums[_TOKENS]))

    def of_response(self, extra: dict[str, Any]) -> SpecStats | None:
        """Present once a request has had a verify step."""
        extension = extra.get("sglext")
        found = extension.get("spec_tokens_details") if isinstance(extension, dict) else None
        return _stats(found) if isinstance(found, dict) and found else None

    def of_folder(self, folder: Path) -> dict[str, SpecStats]:
        """Requests by id, out of all files: SGLang begins a new one every hour.

        A request without a verify step has no such fields and gets zeros.
        """
        lines = [line for path in _files(folder) for line in _objects(path) if "id" in line]
        found: dict[str, SpecStats] = {}
        for line in lines:
            with suppress(TypeError, ValueError):  # an odd line is as good as a missing one
                found[str(line["id"])] = _stats(line)
        return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("sglang-request-metrics-*.log"))


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file; the last may be unfinished."""
    for line in path.read_bytes().split(b"\n"):
        try:
            found = parsed(line.decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _stats(told: dict[str, Any]) -> SpecStats:
    """``histogram[j]`` is the number of steps that accepted exactly j tokens."""

    def first(names: tuple[str, ...], default: Any) -> Any:
        return next((told[name] for name in names if told.get(name)), default)

    return SpecStats(
        steps=told.get("spec_verify_ct", 0),
        drafted=first(_DRAFTED, 0),
        accepted=first(_ACCEPTED, 0),
        per_position=at_least(first(_HISTOGRAM, [])),
    )
