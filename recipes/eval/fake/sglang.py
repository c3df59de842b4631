"""How SGLang 0.5.23, and versions before it, tell of speculation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .script import BaseScript, Reply
from .vllm import parts

HEAD = "sglang:"
WARM_UP = {
    "request_parameters": '{"text": "The capital city of France is"}',
    "id": "of-the-server",
    "completion_tokens": 8,
    "spec_verify_ct": 5,
    "spec_num_correct_drafts": 2,
}


@dataclass
class SglangScript(BaseScript):
    """As ``Script``; with ``export`` it writes a line per request there, a file each two."""

    export: Path | None = None
    older: bool = False  # the spelling of versions before 0.5.23
    forget: int = 0  # requests, from the first on, that are missing in the files
    miscount: int = 0  # steps of each request that only the counter sees

    def details(self, reply: Reply) -> dict[str, Any]:
        if not reply.steps:
            return {}
        names = ("spec_num_correct_drafts", "spec_num_proposed_drafts")
        older = ("spec_accept_token_num", "spec_draft_token_num")
        histogram = "spec_accept_histogram" if self.older else "spec_correct_drafts_histogram"
        accepted, steps = sum(reply.steps) + self.unpositioned, len(reply.steps)
        counts = (accepted, steps * self.nodes_per_step)
        told = dict(zip(older if self.older else names, counts, strict=True))
        return {**told, "spec_verify_ct": steps, histogram: self.as_histogram(reply.steps)}

    def count(self, reply: Reply) -> None:
        self.add("generation_tokens_total", len(reply.words) + self.strangers)
        if reply.steps:
            steps = len(reply.steps) + self.miscount + self.stranger_steps
            self.add("spec_verify_calls_total", steps)
        if self.export and len(self.seen) > self.forget:
            told = {"id": reply.name, "completion_tokens": len(reply.words)}
            self._write(self.export, {**told, **self.details(reply)})

    def _write(self, folder: Path, line: dict[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        path = folder / f"sglang-request-metrics-20261121_{len(self.seen) // 2:02}.log"
        with path.open("a") as file:
            file.write(json.dumps(WARM_UP) + "\n" + json.dumps(line) + "\n")

    def ends(
        self, body: dict[str, Any], reply: Reply, usage: dict[str, int] | None
    ) -> Iterator[dict[str, Any]]:
        """The details come in a chunk of their own, before the usage, and only if asked for."""
        if body.get("return_spec_tokens_details") and (details := self.details(reply)):
            yield {"sglext": {"spec_tokens_details": details}}
        if usage is not None:
            yield {"usage": usage}

    def exposition(self) -> str:
        """Two sets of labels that share the sums, a created sample, and gauges to be left alone."""
        lines = [f"# TYPE {HEAD}spec_accept_length gauge", f"{HEAD}spec_accept_length 9.0"]
        for name, value in self.totals.items():
            lines.append(f"# TYPE {HEAD}{name} counter")
            for streaming, part in zip(("false", "true"), parts(value, 2), strict=True):
                labels = f'engine_type="unified",is_streaming="{streaming}",model_name="fake"'
                lines.append(f"{HEAD}{name}{{{labels}}} {part}.0")
                lines.append(f"{HEAD}{name.removesuffix('_total')}_created{{{labels}}} 1.7e9")
        return "\n".join(lines) + "\n"
