"""The embeddings that a job has stored."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.matrix.job import ConfigError
from bench.store.columns import Distance
from bench.store.job_folders import StoreError
from bench.store.mirror import mirror_of
from bench.store.row_file import read_row
from bench.store.stored_file import DamagedError, matrix

__all__ = ["distance", "embeddings", "has_embeddings", "training"]


def embeddings(results: Path, key: str) -> NDArray[np.float32]:
    """Stored test embeddings of a job, [queries + gallery, dim]; every number is finite.

    Raises:
        FileNotFoundError: the job has none.
        ConfigError: they cannot be opened, or are damaged.
    """
    return _vectors(results / key / "embeddings.npy")


def distance(results: Path, key: str) -> Distance:
    """By which the stored embeddings of a job are compared; what an older row does not say is Euclidean.

    Raises:
        ConfigError: its row cannot be opened, or is damaged.
    """
    try:
        row = read_row(results / key)
    except (StoreError, DamagedError) as error:
        raise ConfigError(f"{results / key}: its row {error}; `bench run` runs its job again") from error
    stated: Distance | None = row["distance"][0].as_py() if row and "distance" in row.column_names else None
    return stated or "euclidean"


def has_embeddings(results: Path, key: str) -> bool:
    """Whether a job has stored test embeddings: someone may have deleted them to save space."""
    if (results / key / "embeddings.npy").exists():
        return True
    mirror = mirror_of(results)
    return mirror is not None and mirror.has_embeddings(key)


def training(results: Path, key: str) -> NDArray[np.float32]:
    """Stored embeddings of training images of a job, [images, dim]; of every job of a dataset the same images.

    Raises:
        FileNotFoundError: the job has none.
        ConfigError: they cannot be opened, or are damaged.
    """
    return _vectors(results / key / "training.npy")


def _vectors(file: Path) -> NDArray[np.float32]:
    try:
        return matrix(file)
    except StoreError as error:
        raise ConfigError(str(error)) from error
    except DamagedError as error:
        raise ConfigError(f"{file}: {error}; `bench run` runs its job again") from error
