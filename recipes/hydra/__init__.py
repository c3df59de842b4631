"""Heads for a Hydra from the embedded default target: `python -m recipes.hydra.heads --help`."""
