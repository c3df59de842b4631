"""LongSpec for stock vLLM (and, later, SGLang): engine adapters without an algorithm in them."""
