"""Stored values and gradients of public code, of losses whose triplets, quadruplets or centres are stored too.

One test per file of the folder, `FAMILY_caseK.npz`. Every key is either read or computed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.recent_golden import RECENT, in_both_precisions
from torch import Tensor

from losses.centers import center, center_loss, center_steps
from losses.quadruplets import Quadruplets, quadruplet_loss
from losses.rho_regularized import costly, rho_margin_loss, triplet_costs
from losses.shape import Shape
from losses.signal_to_noise import signal_to_noise_triplet_loss

Computed = dict[str, Any]


class Case(dict[str, Any]):
    """Real arrays as tensors of the precision asked for, whole numbers as they are, scalars as such."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.stored = {key: file[key] for key in file.files}
        self.looked_at = {"desc", "edge"}
        real = {key: value.dtype.kind == "f" for key, value in self.stored.items()}
        super().__init__(
            (key, value.item() if value.ndim == 0 else torch.tensor(value, dtype=dtype if real[key] else torch.long))
            for key, value in self.stored.items()
        )

    def __getitem__(self, key: str) -> Any:
        self.looked_at.add(key)
        return super().__getitem__(key)


def with_gradients(name: str, value: Tensor, wanted: dict[str, Tensor]) -> Computed:
    """A value as `loss` or `loss_NAME`, its gradients as `grad_INPUT` or `grad_NAME_INPUT`."""
    found = torch.autograd.grad(value, list(wanted.values()), retain_graph=True)
    middle = f"{name}_" if name else ""
    gradients = {f"grad_{middle}{key}": each for key, each in zip(wanted, found, strict=True)}
    return {f"loss_{name}".rstrip("_"): value.detach(), **gradients}


def golden_quadruplet(case: Case) -> Computed:
    points, there = case["embeddings"].requires_grad_(), torch.ones(len(case["fourth"]), dtype=torch.bool)
    chosen = Quadruplets(*case["triplets"].T, case["fourth"], there, there)
    of_three = case["labels"][torch.cat([case["triplets"], case["fourth"][:, None]], 1)]
    assert (of_three[:, 3:] != of_three[:, [0, 2]]).all()
    computed: Computed = {}
    for name, crossed in {"": False, "released": True}.items():
        margins = {"margin": case["alpha_1"], "second_margin": case["alpha_2"]}
        value = quadruplet_loss(points, chosen, crossed=crossed, **margins)
        computed |= with_gradients(name, value, {"embeddings": points})
    return computed


def golden_rho_margin(case: Case) -> Computed:
    inputs = {name: case[name].requires_grad_() for name in ("embeddings", "beta")}
    costs = triplet_costs(inputs["embeddings"], case["labels"], case["triplets"], inputs["beta"], margin=case["margin"])
    computed: Computed = {f"n_active_{per}s": costly(costs, per=per).item() for per in ("triplet", "pair")}
    for name, per in {"": "triplet", "pairs": "pair"}.items():
        computed |= with_gradients(name, rho_margin_loss(costs, nu=case["nu"], per=per), inputs)
    if case["beta_constant"]:  # stored as 0
        computed |= {key: 0 * each for key, each in computed.items() if key.endswith("_beta")}
    return computed


def golden_snr_triplet(case: Case) -> Computed:
    points, triplets = case["embeddings"].requires_grad_(), case["triplets"]
    anchors, positives, negatives = case["labels"][triplets].T
    assert ((anchors == positives) & (anchors != negatives)).all()
    settings = {"margin": case["margin"], "zero_mean": case["reg_lambda"]}
    computed: Computed = {}
    for name, per in {"": "costly", "mean": "all"}.items():
        value = signal_to_noise_triplet_loss(points, triplets, per=per, **settings)
        computed |= with_gradients(name, value, {"embeddings": points})
    plain = {"margin": case["margin"], "zero_mean": 0.0}
    sums = [signal_to_noise_triplet_loss(points, triplets, per=per, **plain).item() for per in ("all", "costly")]
    return {**computed, "n_active": round(len(triplets) * sums[0] / sums[1])}


def golden_center_loss(case: Case) -> Computed:
    inputs = {name: case[name].requires_grad_() for name in ("embeddings", "centers")}
    value = center_loss(inputs["embeddings"], case["labels"], inputs["centers"])
    steps = center_steps(inputs["embeddings"].detach(), case["labels"], inputs["centers"].detach())
    return {**with_gradients("", value, inputs), "delta_centers_paper": steps}


FAMILIES: dict[str, Callable[[Case], Computed]] = {
    name.removeprefix("golden_"): function for name, function in list(globals().items()) if name.startswith("golden_")
}
FILES = [path for name in FAMILIES for path in sorted(RECENT.glob(f"{name}_case*.npz"))]
stored = pytest.mark.skipif(not FILES, reason="no stored values: set BENCH_GOLDEN_RECENT or BENCH_SHARED")


def error(computed: Any, stored: NDArray[Any]) -> float:
    ours = np.asarray(computed)
    assert ours.shape == stored.shape
    if stored.dtype.kind == "i":
        return 0.0 if np.array_equal(ours, stored) else np.inf
    return float(np.abs(ours - stored).max() / max(np.abs(stored).max(), 1e-3))


@stored
@in_both_precisions
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_values_are_met(path: Path, dtype: torch.dtype) -> None:
    case = Case(path, dtype)
    computed = FAMILIES[path.stem.rpartition("_case")[0]](case)
    assert case.stored.keys() <= case.looked_at | computed.keys(), "a key is neither read nor computed"
    errors = {key: error(each, case.stored[key]) for key, each in computed.items()}
    allowed = {key: 1e-4 if dtype == torch.float32 else 1e-8 if key.startswith("grad") else 1e-9 for key in errors}
    assert {key: e for key, e in errors.items() if e > allowed[key]} == {}


@stored
@pytest.mark.parametrize("path", [path for path in FILES if path.stem.startswith("center")], ids=lambda path: path.stem)
@pytest.mark.parametrize("update", ["average", "gradient"])
def test_the_center_module_computes_what_is_stored(path: Path, update: str) -> None:
    case = Case(path, torch.float64)
    module = center(Shape(*reversed(case["centers"].shape)), update=update).double()  # type: ignore[arg-type]
    module.centers.data = case["centers"].clone()
    points = case["embeddings"].requires_grad_()
    value = module(points, case["labels"])
    value.backward()
    assert error(value.detach(), case.stored["loss"]) < 1e-9
    assert error(points.grad, case.stored["grad_embeddings"]) < 1e-8
    if update == "average":
        moved = case.stored["centers"] - 0.5 * case.stored["delta_centers_paper"]
        assert error(module.centers, moved) < 1e-9
    else:
        assert error(module.centers.grad, case.stored["grad_centers"]) < 1e-8
