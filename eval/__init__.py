"""Measures servers and models; it speaks HTTP, and loads no engine.

Commands: ``speed_bench``, ``compare``, ``prepare_data``; in this process ``long_bench``, ``aime``
and ``latency_bench``. A command with code of its own is a folder. What they share, in the order in
which data flows: ``cli`` (what the user says), ``datasets`` (prompts), ``servers``, then
``speed_bench`` asks the prompts, ``records`` (what is kept), ``numbers``, ``report``.

Imports run one way: commands, ``report``, ``numbers``, ``servers``, ``datasets``, ``records``,
``cli``, each only from those after it.
"""
