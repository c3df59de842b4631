"""From a target to a GLIDE draft, in four steps: ``python -m proposers.train --help``.

1. ``answers``: the target answers ``prompts``.
2. ``features``: what a draft will read of the target is stored, answer by answer.
3. ``trainer``: the draft is trained on it.
4. ``evaluate``: how well it proposes, on answers that it has not seen.

``export`` is the way to and from the layout of published drafts.
"""
