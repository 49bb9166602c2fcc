"""Seeds: one per purpose, from (job seed, purpose), so that every loss sees the same batches; and blocks of them."""

import hashlib
from collections.abc import Sequence

__all__ = ["block_from", "derive"]


def derive(seed: int, purpose: str) -> int:
    """A seed of 63 bits for one purpose of a job."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def block_from(seed: int, seeds: Sequence[int], count: int) -> tuple[int, ...]:
    """The seeds of the block of `count` that begins with this one; none if no whole block does.

    Blocks do not overlap, so that no model is in two cells and the cells are independent.
    """
    if count == 1:
        return (seed,)
    place = seeds.index(seed)
    block = tuple(seeds[place : place + count])
    return block if place % count == 0 and len(block) == count else ()
