"""Stored cases of recent losses: inputs, values and gradients of their authors' code, one file for each case."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.sample_batches import GOLDEN, SHARED, error
from torch import Tensor

Arrays = dict[str, NDArray[Any]]

DTYPES = {torch.float64: (1e-9, 1e-8), torch.float32: (1e-4, 1e-4)}
"""Largest error of a value, and of a gradient."""


def every_case(family: str) -> pytest.MarkDecorator:
    """Parametrizes a test by `path`, over the files of a family; it is skipped where there are none."""
    paths = sorted({*(SHARED / "golden_recent").glob(f"{family}_case*.npz"), *GOLDEN.glob(f"{family}_case*.npz")})
    missing = pytest.param(None, marks=pytest.mark.skip(reason=f"no vectors of {family}: set BENCH_SHARED"))
    return pytest.mark.parametrize("path", paths or [missing], ids=lambda path: path.stem if path else "none")


in_both_precisions = pytest.mark.parametrize("dtype", DTYPES, ids=str)


class Case:
    """What a file holds: real arrays as tensors of one precision, whole numbers as they are, scalars as such."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.stored: Arrays = {key: file[key] for key in file.files}
        self.dtype = dtype
        self.embeddings = self["embeddings"].requires_grad_()
        self.labels: Tensor = self["labels"]

    def __contains__(self, key: str) -> bool:
        return key in self.stored

    def __getitem__(self, key: str) -> Any:
        value = self.stored[key]
        if value.ndim == 0:
            return value.item()
        return torch.tensor(value, dtype=self.dtype if value.dtype.kind == "f" else torch.long)

    def holds(self, loss: Tensor, **others: Tensor) -> None:
        """Fails unless the loss, its gradient and other values are what the file has."""
        of_value, of_gradient = DTYPES[self.dtype]
        (gradient,) = torch.autograd.grad(loss, self.embeddings)
        assert loss.dtype == gradient.dtype == self.dtype
        errors = {key: self.error(key, value) for key, value in {"loss": loss, **others}.items()}
        assert all(found <= of_value for found in errors.values()), errors
        assert self.error("grad_embeddings", gradient) <= of_gradient

    def error(self, key: str, value: Tensor) -> float:
        """Largest difference over the array, as a share of the largest number in it."""
        assert value.shape == self.stored[key].shape
        return error(value.detach(), self.stored[key])
