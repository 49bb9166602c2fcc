"""Which training classes are held out: a model is chosen by classes that neither train nor test."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.matrix.recipe import Validation
from bench.matrix.seeds import derive

__all__ = ["Fold", "folds"]


class Fold(NamedTuple):
    """The training side of a split, parted by class into what trains and what is held out."""

    labels: NDArray[np.int64]
    """[N]: for each training image the number of its class, 0 .. len(classes) - 1; -1 where it is held out."""
    classes: NDArray[np.int64]
    """[C]: the numbers that the classes which train have in the split, in its order."""
    held_out: NDArray[np.int64]
    """[V]: rows of the images held out; none without validation."""


def folds(labels: NDArray[np.int64], validation: Validation | None, *, seed: int) -> tuple[Fold, ...]:
    """The folds of training labels [N], numbers from 0: one per model to train.

    Which classes are held out depends on the job's `seed` and on how many there are. A share holds out at least one
    class; folds hold out each class once, in numbers that differ by one at most.
    """
    classes = int(labels.max()) + 1
    order = np.random.default_rng(derive(seed, "validation")).permutation(classes)
    if validation is None:
        groups = [order[:0]]
    elif validation.share is not None:
        groups = [order[: max(1, round(validation.share * classes))]]
    else:
        groups = np.array_split(order, validation.folds or 1)
    return tuple(_fold(labels, np.sort(group), classes) for group in groups)


def _fold(labels: NDArray[np.int64], held_out: NDArray[np.int64], classes: int) -> Fold:
    kept = np.setdiff1d(np.arange(classes), held_out)
    number = np.full(classes, -1)
    number[kept] = np.arange(len(kept))
    renumbered = number[labels]
    return Fold(renumbered, kept, np.flatnonzero(renumbered < 0))
