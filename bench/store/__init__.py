"""Rows on disk: written whole or not at all, read back as tables."""

from bench.store.checkpoints import forget_checkpoint
from bench.store.folder import (
    TRAINING,
    embeddings,
    empty,
    load,
    prepare,
    set_aside,
    statuses,
    training,
    write,
)
from bench.store.logs import history, members
from bench.store.packing import pack
from bench.store.places import StoreError, check_room, check_writable
from bench.store.queries import read_queries

__all__ = [
    "TRAINING",
    "StoreError",
    "check_room",
    "check_writable",
    "embeddings",
    "empty",
    "forget_checkpoint",
    "history",
    "load",
    "members",
    "pack",
    "prepare",
    "read_queries",
    "set_aside",
    "statuses",
    "training",
    "write",
]
