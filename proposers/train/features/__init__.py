"""What a draft learns from: one pass of the frozen target over its own answers, kept on disk."""
