"""The latency benchmark: methods timed back to back on one device; see docs/latency.md.

What may be asked for: ``options``, ``shapes``. What needs torch: ``models``, with ``prompts``. What
is timed, how, and what the numbers mean: ``benchmarks``, ``harness``, ``stats``. Method after
method, into a folder: ``rows``, ``runner``, ``progress``, ``results``. For people: ``lines`` of
``table`` and ``graph``.
"""
