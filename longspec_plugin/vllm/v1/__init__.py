"""Trees in Model Runner V1, which vLLM's CPU builds run."""
