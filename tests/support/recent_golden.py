"""Stored vectors of recent losses, `FAMILY_caseK.npz`: what authors' code gave, to be met by ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.sample_batches import SHARED
from torch import Tensor

RECENT = SHARED / "golden_recent"
MISSING = pytest.param(None, id="none", marks=pytest.mark.skip(reason=f"no vectors in {RECENT.name}: set BENCH_SHARED"))

in_both_precisions = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def every_case(family: str) -> pytest.MarkDecorator:
    """A test per file of the family, as `path`; one that is skipped where there are no files."""
    files = sorted(RECENT.glob(f"{family}_case*.npz"))
    return pytest.mark.parametrize("path", [pytest.param(file, id=file.stem) for file in files] or [MISSING])


def stored(path: Path, dtype: torch.dtype) -> dict[str, Any]:
    """What a file holds: real arrays in this precision, whole numbers as they are, scalars as Python has them."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    kinds = {"f": dtype, "i": torch.long}
    return {
        key: torch.tensor(array, dtype=kinds[array.dtype.kind]) if array.ndim else array.item()
        for key, array in arrays.items()
    }


def assert_met(path: Path, computed: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """What was computed is what the file has; every loss and every gradient in it must be there."""
    case = stored(path, torch.float64)
    wanted = {key for key in case if key.startswith(("loss", "grad_"))}
    assert wanted <= computed.keys()
    errors = {key: _error(value, torch.as_tensor(case[key], dtype=torch.float64)) for key, value in computed.items()}
    assert {key: found for key, found in errors.items() if not found <= _tolerance(key, dtype)} == {}


def _error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.detach().double() - theirs).abs().max() / theirs.abs().max().clamp(min=1e-3))


def _tolerance(key: str, dtype: torch.dtype) -> float:
    if dtype == torch.float32:
        return 1e-4
    return 1e-8 if key.startswith("grad_") else 1e-9
