"""LongSpec for stock vLLM and stock SGLang: engine adapters without an algorithm in them."""
