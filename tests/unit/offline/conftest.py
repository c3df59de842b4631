"""Tiny models, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers import load_glide_model
from proposers.offline.models import GlideModel
from tests.unit.threads import one_thread as one_thread

from .tiny import tiny_draft, tiny_target

ModelMaker = Callable[..., GlideModel]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> ModelMaker:
    """``make_model(kind, dtype, draft={...}, **target)``: a tiny target and its draft."""

    @cache
    def files(kind: str, target: tuple[Any, ...], draft: tuple[Any, ...]) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(kind)
        config = tiny_target(folder / "target", kind, **dict(target))
        tiny_draft(folder / "draft", config, **dict(draft))
        return folder / "target", folder / "draft"

    def make(
        kind: str = "llama",
        dtype: torch.dtype = torch.float64,
        draft: dict[str, Any] | None = None,
        **target: Any,
    ) -> GlideModel:
        paths = files(kind, tuple(target.items()), tuple((draft or {}).items()))
        return load_glide_model(*paths, device="cpu", dtype=dtype)

    return make
