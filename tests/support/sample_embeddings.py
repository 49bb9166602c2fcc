"""Embeddings of overlapping classes."""

import numpy as np
from numpy.typing import NDArray


def sample(n: int = 120, classes: int = 10, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    centres = np.random.default_rng(99).normal(size=(classes, 8))
    return (centres[labels] + rng.normal(size=(n, 8))).astype(np.float32), labels
