"""A scripted server with the parts of SGLang's HTTP interface that the evaluation reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fake import Script

HEAD = "sglang:"
WARM_UP = {
    "request_parameters": '{"text": "The capital city of France is"}',
    "id": "of-the-server",
    "completion_tokens": 8,
    "spec_verify_ct": 5,
    "spec_num_correct_drafts": 2,
}


@dataclass
class SglangScript(Script):
    """As ``Script``; with ``export`` it writes a line per request there, a file each two."""

    export: Path | None = None
    older: bool = False  # the spelling of versions before 0.5.23
    forget: int = 0  # requests, from the first on, that are missing in the files
    miscount: int = 0  # steps of each request that only the counter sees

    def details(self) -> dict[str, Any]:
        if not self.histogram:
            return {}
        steps = sum(self.histogram)
        accepted = sum(j * count for j, count in enumerate(self.histogram))
        names = ("spec_num_correct_drafts", "spec_num_proposed_drafts")
        older = ("spec_accept_token_num", "spec_draft_token_num")
        histogram = "spec_accept_histogram" if self.older else "spec_correct_drafts_histogram"
        counts = (accepted, steps * self.nodes_per_step)
        told = dict(zip(older if self.older else names, counts, strict=True))
        return {**told, "spec_verify_ct": steps, histogram: self.histogram}

    def count(self, name: str) -> None:
        self.add("generation_tokens_total", len(self.words) + self.strangers)
        if self.histogram:
            self.add("spec_verify_calls_total", sum(self.histogram) + self.miscount)
        if self.export and len(self.seen) > self.forget:
            self._write({"id": name, "completion_tokens": len(self.words), **self.details()})

    def _write(self, line: dict[str, Any]) -> None:
        assert self.export is not None
        self.export.mkdir(exist_ok=True)
        hour = len(self.seen) // 2
        path = self.export / f"sglang-request-metrics-20261121_{hour:02}.log"
        with path.open("a") as file:
            file.write(json.dumps(WARM_UP) + "\n" + json.dumps(line) + "\n")

    def ends(self, body: dict[str, Any], usage: dict[str, int]) -> Iterator[dict[str, Any]]:
        """The details come in a chunk of their own, before the usage, and only if asked for."""
        if body.get("return_spec_tokens_details") and (details := self.details()):
            yield {"sglext": {"spec_tokens_details": details}}
        yield {"usage": usage}

    def exposition(self) -> str:
        """Two sets of labels that share the sums, a created sample, and gauges to be left alone."""
        lines = [f"# TYPE {HEAD}spec_accept_length gauge", f"{HEAD}spec_accept_length 9.0"]
        for name, value in self.totals.items():
            lines.append(f"# TYPE {HEAD}{name} counter")
            for streaming, part in (("false", value // 2), ("true", value - value // 2)):
                labels = f'engine_type="unified",is_streaming="{streaming}",model_name="fake"'
                lines.append(f"{HEAD}{name}{{{labels}}} {part}.0")
                lines.append(f"{HEAD}{name.removesuffix('_total')}_created{{{labels}}} 1.7e9")
        return "\n".join(lines) + "\n"
