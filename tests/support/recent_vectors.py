"""Stored vectors of recent losses, made with their authors' code: inputs, values and gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.sample_batches import SHARED
from torch import Tensor

RECENT = SHARED / "golden_recent"
Vectors = dict[str, Any]


def recent(family: str) -> Any:
    """Runs a test with `path` of each stored case of a family, in both precisions; without them, it is skipped."""
    files = sorted(RECENT.glob(f"{family}_case*.npz"))
    missing = pytest.mark.skipif(not files, reason=f"no vectors of {family} in {RECENT}: set BENCH_SHARED")
    paths = pytest.mark.parametrize("path", files or [RECENT], ids=lambda path: path.stem)
    precisions = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
    return lambda test: missing(paths(precisions(test)))


def vectors(path: Path, dtype: torch.dtype) -> Vectors:
    """A case: real arrays as tensors of that precision, whole numbers as they are, scalars as numbers."""
    with np.load(path, allow_pickle=False) as file:
        stored = {key: file[key] for key in file.files}
    return {key: value.item() if value.ndim == 0 else _tensor(value, dtype) for key, value in stored.items()}


def assert_met(computed: Vectors, case: Vectors, dtype: torch.dtype) -> None:
    """That what was computed is what the case stores, under the same keys."""
    errors = {key: error(found, case[key]) for key, found in computed.items()}
    assert {key: wrong for key, wrong in errors.items() if not wrong <= _tolerance(key, dtype)} == {}


def error(computed: Any, stored: Any) -> float:
    """Largest difference, as a share of the largest number stored."""
    ours, theirs = (torch.as_tensor(value, dtype=torch.double).detach() for value in (computed, stored))
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-3))


def _tensor(value: NDArray[Any], dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype if value.dtype.kind == "f" else torch.long)


def _tolerance(key: str, dtype: torch.dtype) -> float:
    return 1e-4 if dtype == torch.float32 else 1e-8 if key.startswith("grad") else 1e-9
