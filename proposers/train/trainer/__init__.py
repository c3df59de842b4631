"""The trainer: features in, a draft out."""
