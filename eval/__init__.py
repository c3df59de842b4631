"""Measures speculative decoding on served models: see docs/evaluation.md."""
