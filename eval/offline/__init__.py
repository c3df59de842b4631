"""Evaluations that run a target and its draft in this process: see docs/offline_eval.md.

The one corner of ``eval`` that may import torch, transformers and ``proposers`` (in ``model``);
only ``eval.long_bench`` and ``eval.aime`` import it.
"""
