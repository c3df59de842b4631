"""Measurements of the offline engine: each file is one command that prints and saves a table."""
