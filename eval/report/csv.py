"""results.csv: a row per arm and condition, dots for nesting, lists as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..records.results import Results

if TYPE_CHECKING:
    import pandas as pd


def frame(results: Results) -> pd.DataFrame:
    """The arms of results.json as a flat table."""
    import pandas as pd  # here, since it is slow to import

    flat = pd.json_normalize([arm.model_dump(mode="json") for arm in results.arms], sep=".")
    lists = [str(name) for name in flat if flat[name].map(lambda v: isinstance(v, list)).any()]
    flat[lists] = flat[lists].map(json.dumps)
    return flat


def text(results: Results) -> str:
    """results.csv."""
    return frame(results).to_csv(index=False)
