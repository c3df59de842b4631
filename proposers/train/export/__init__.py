"""`export`: drafts in the layout of the published LongSpec checkpoints, and back."""
