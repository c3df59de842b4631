"""Train a GLIDE draft on stored features of its target: ``python -m proposers.train --help``."""
