"""GLIDE: a one-layer draft that reads the target's own KV cache."""
