"""The shipped prompts: composed from word lists, in many categories, repeatable."""

from .compose import CATEGORIES, ON_REQUEST, category_of, compose

__all__ = ["CATEGORIES", "ON_REQUEST", "category_of", "compose"]
