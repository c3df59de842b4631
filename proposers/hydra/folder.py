"""A folder of heads: ``index.json`` names their files, as ``recipes/hydra`` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .config import HydraConfig
from .model import HydraTransformer


def load_hydra(model: Any, folder: str | Path) -> HydraTransformer:
    """Put a folder's heads on their target.

    ``index.json``: ``n_heads``, ``heads_depth``, ``heads`` (a list of ``{"file": name}``), and
    ``bridge`` (``{"file": name}``) where there is one.

    Raises:
        ValueError: in one line.
    """
    folder = Path(folder)
    index = read_index(folder)
    config = HydraConfig(index["n_heads"], index["heads_depth"])
    files = [folder / head["file"] for head in index["heads"]]
    bridge = folder / index["bridge"]["file"] if index.get("bridge") else None
    return HydraTransformer.from_target(model, config, files, bridge)


def read_index(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no index.json; make heads with python -m recipes.hydra.heads"
        )
    try:
        index: dict[str, Any] = json.loads(path.read_text())
        missing = {"n_heads", "heads_depth", "heads"} - index.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no index of heads: {error}") from None
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; make the heads again")
    return index
