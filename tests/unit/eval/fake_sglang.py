"""As ``fake``, speaking as SGLang does."""

from recipes.eval.fake.sglang import WARM_UP, SglangScript

__all__ = ["WARM_UP", "SglangScript"]
