"""The measurement on a machine with an NVIDIA GPU: ``python -m recipes.gpu``, ``make gpu``."""
