"""Speculative decoding algorithms in plain torch: proposers, trees, acceptance, GLIDE.

Nothing in this package imports an engine.
"""
