"""Write feature shards; the format is described in `answers.py`."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


class Writer:
    """Collect finished sequences and write them as shards of about `size` tokens."""

    def __init__(self, out: Path, size: int) -> None:
        self.out, self.size = out, size
        self.rows: list[dict[str, Any]] = []
        out.mkdir(parents=True, exist_ok=True)
        self.number = len(list(out.glob("shard-*.safetensors")))
        self.total = sum(json.loads(p.read_text())["tokens"] for p in out.glob("shard-*.json"))

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if sum(len(r["tokens"]) for r in self.rows) >= self.size:
            self.flush()

    def flush(self) -> None:
        """Write one shard; the data file is renamed into place last."""
        rows, self.rows = self.rows, []
        lengths = torch.tensor([0] + [len(r["tokens"]) for r in rows])
        tensors = {
            "tokens": torch.cat([torch.tensor(r["tokens"], dtype=torch.int32) for r in rows]),
            "offsets": lengths.cumsum(0).int(),
        }
        for key in ("prompt_len", "greedy", "magpie"):
            tensors[key] = torch.tensor([int(r[key]) for r in rows], dtype=torch.int32)
        for key in ("keys", "values", "hidden"):
            tensors[key] = torch.cat([r[key] for r in rows]).contiguous()
        stem = self.out / f"shard-{self.number:05d}"
        about = {
            "tokens": len(tensors["tokens"]),
            "sequences": len(rows),
            "next_index": max(r["index"] for r in rows) + 1,
            "answers": sum(len(r["tokens"]) - r["prompt_len"] for r in rows),
            "categories": [r["category"] for r in rows],
        }
        save_file(tensors, f"{stem}.tmp")
        Path(f"{stem}.json").write_text(json.dumps(about))
        os.replace(f"{stem}.tmp", f"{stem}.safetensors")
        self.number, self.total = self.number + 1, self.total + about["tokens"]
