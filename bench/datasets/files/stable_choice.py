"""Picks by a seed that a further candidate, a library's version or the order of a listing cannot change."""

import hashlib
from collections.abc import Sequence

__all__ = ["choose"]


def choose(names: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the distinct `names`, in their given order: those first by the SHA-256 of seed and name.

    A larger count only adds names, and another name in the list displaces at most one of those picked.
    """
    picked = set(sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())[:count])
    return [name for name in names if name in picked]
