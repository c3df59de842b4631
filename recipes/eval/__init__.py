"""Measurements of the evaluation itself, and the scripted engine they and the tests use."""
