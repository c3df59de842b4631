"""Let a target answer prompts: `python -m proposers.train answers --help`."""
