"""The scripted server of the tests; it lives beside the recipes, which measure with it."""

from recipes.eval.fake import Answer, Script, serving

__all__ = ["Answer", "Script", "serving"]
