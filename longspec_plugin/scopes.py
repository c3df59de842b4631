"""Which requests may be drafted from each other's answers: those that name the same salt.

Engines take a ``cache_salt`` with a request, by which they keep prefix caches of their users apart:
how fast an answer comes tells something of what a cache holds. Answers that are remembered are kept
apart by the same word, and requests without one share nothing.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from proposers.memory import NOBODY


@lru_cache(maxsize=4096)
def scope(salt: str | None) -> int:
    """A salt as :class:`~proposers.base.DraftContext` has it, the same in every process."""
    if not salt:
        return NOBODY
    digest = hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 or 1  # fits an int64, and is not NOBODY
