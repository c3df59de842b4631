"""What is on disk, and its schemas: requests, windows, a run's journal, results, provenance."""
