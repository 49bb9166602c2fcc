"""Rows on disk: written whole or not at all, read back as tables."""

from bench.store.arrays import distance, embeddings, has_embeddings, training
from bench.store.checkpoints import forget_checkpoint
from bench.store.damage import set_aside_beside, usable
from bench.store.folder import TRAINING, empty, keep, load, prepare, set_aside, statuses, write
from bench.store.job_folders import StoreError, check_room, check_writable
from bench.store.logs import history, members
from bench.store.mirror import fetch_arrays, mirrored
from bench.store.one_driver import driving
from bench.store.pack import pack
from bench.store.queries import read_queries

__all__ = [
    "TRAINING",
    "StoreError",
    "check_room",
    "check_writable",
    "distance",
    "driving",
    "embeddings",
    "empty",
    "fetch_arrays",
    "forget_checkpoint",
    "has_embeddings",
    "history",
    "keep",
    "load",
    "members",
    "mirrored",
    "pack",
    "prepare",
    "read_queries",
    "set_aside",
    "set_aside_beside",
    "statuses",
    "training",
    "usable",
    "write",
]
