"""Stored cases of recent losses, `FAMILY_caseK.npz`: inputs, and values and gradients of their authors' code."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.sample_batches import SHARED
from torch import Tensor

RECENT = Path(os.environ.get("BENCH_GOLDEN_RECENT") or SHARED / "golden_recent")
MISSING = pytest.param(
    None, id="none", marks=pytest.mark.skip(reason=f"no stored cases in {RECENT.name}: set BENCH_SHARED")
)

in_both_precisions = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def every_case(*families: str) -> pytest.MarkDecorator:
    """A test per file of the families, as `path`; one that is skipped where there are no files."""
    files = [file for family in families for file in sorted(RECENT.glob(f"{family}_case*.npz"))]
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


def assert_met(computed: Mapping[str, Any], case: Mapping[str, Any], dtype: torch.dtype) -> None:
    """What was computed is what the case has under the same keys."""
    errors = {key: error(found, case[key]) for key, found in computed.items()}
    assert {key: found for key, found in errors.items() if not found <= tolerance(key, dtype)} == {}


def assert_all_met(path: Path, computed: Mapping[str, Any], dtype: torch.dtype) -> None:
    """The same, and every loss and every gradient of the file was computed."""
    case = stored(path, torch.float64)
    assert {key for key in case if key.startswith(("loss", "grad_"))} <= computed.keys()
    assert_met(computed, case, dtype)


def assert_loss_met(loss: Tensor, case: Mapping[str, Any], dtype: torch.dtype, **others: Tensor) -> None:
    """A loss, its gradient at the case's embeddings and other values are what the case has, in this precision."""
    (gradient,) = torch.autograd.grad(loss, case["embeddings"])
    assert loss.dtype == gradient.dtype == dtype
    assert_met({"loss": loss, "grad_embeddings": gradient, **others}, case, dtype)


def error(computed: Any, wanted: Any) -> float:
    """Largest difference, as a share of the largest number wanted."""
    ours, theirs = (torch.as_tensor(value, dtype=torch.float64).detach() for value in (computed, wanted))
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-3))


def tolerance(key: str, dtype: torch.dtype) -> float:
    """The largest error that a value, or a gradient, may have."""
    if dtype == torch.float32:
        return 1e-4
    return 1e-8 if key.startswith("grad_") else 1e-9
