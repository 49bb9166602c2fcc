"""Rows on disk: written whole or not at all, read back as tables."""

from bench.store.folder import (
    TRAINING,
    StoreError,
    embeddings,
    empty,
    first_hits,
    history,
    load,
    members,
    pack,
    prepare,
    set_aside,
    statuses,
    training,
    write,
)

__all__ = [
    "TRAINING",
    "StoreError",
    "embeddings",
    "empty",
    "first_hits",
    "history",
    "load",
    "members",
    "pack",
    "prepare",
    "set_aside",
    "statuses",
    "training",
    "write",
]
