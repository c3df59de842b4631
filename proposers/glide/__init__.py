"""GLIDE: a draft of one or two layers that reads the target's own KV cache."""
