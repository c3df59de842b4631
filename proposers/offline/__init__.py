"""Speculative decoding on a transformers model: no server, one Python object.

Prompt to text: ``loading`` the target, its ``cache`` and ``attention``, the ``target``'s forwards,
``decode`` (draft, verify, accept, move), and ``models``, the classes that people use.
"""
