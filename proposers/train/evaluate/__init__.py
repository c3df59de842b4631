"""How well a draft proposes, measured on stored answers: ``python -m proposers.train evaluate``."""
